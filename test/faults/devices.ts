import { connectAsync, type MqttClient } from "mqtt";
import type { Asked, Heard } from "./invariants.ts";
import { answerTo } from "./model.ts";

/** Devices that ask and listen, whatever happens to the broker meanwhile. */
export interface Devices extends AsyncDisposable {
  /** Publishes one request at QoS 1; acknowledged is what the broker took over. */
  ask(client: string): void;
  readonly asked: readonly Asked[];
  readonly heard: readonly Heard[];
  /** Ids of acknowledged requests that have no final answer yet. */
  open(): string[];
  /** Requests that the broker has not acknowledged yet. */
  unacknowledged(): number;
}

export async function openDevices(url: string, clients: readonly string[]): Promise<Devices> {
  const asked: (Asked & { isAcknowledged: boolean })[] = [];
  const heard: Heard[] = [];
  const answered = new Set<string>();
  const connections = new Map<string, MqttClient>();
  for (const client of clients) {
    connections.set(
      client,
      await connect(url, client, (part) => {
        heard.push({ ...part, when: performance.now() });
        if (part.done && part.error !== "busy") answered.add(`${part.client} ${part.id}`);
      }),
    );
  }
  return {
    asked,
    heard,
    ask(client) {
      const id = `r${asked.length}`;
      const text = `${client} ${id}`;
      const [from, expected] = [performance.now(), answerTo(text)];
      const request = { client, id, expected, isAcknowledged: false, from };
      asked.push(request);
      const payload = JSON.stringify({ text, id });
      connections.get(client)?.publish(topicOf(client, "request"), payload, { qos: 1 }, (error) => {
        if (!error) request.isAcknowledged = true;
      });
    },
    open: () =>
      asked
        .filter(
          ({ client, id, isAcknowledged }) => isAcknowledged && !answered.has(`${client} ${id}`),
        )
        .map(({ client, id }) => `${client} ${id}`),
    unacknowledged: () => asked.filter(({ isAcknowledged }) => !isAcknowledged).length,
    async [Symbol.asyncDispose]() {
      for (const connection of connections.values()) await connection.endAsync(true);
    },
  };
}

function topicOf(client: string, level: "request" | "response"): string {
  return `/picoclaw/assistant/${client}/${level}`;
}

async function connect(
  url: string,
  client: string,
  hear: (part: Heard) => void,
): Promise<MqttClient> {
  const connection = await connectAsync(url, {
    clientId: `device-${client}`,
    clean: false,
    reconnectPeriod: 200,
    keepalive: 30,
    protocolVersion: 4,
  });
  connection.on("error", () => {});
  connection.on("message", (_topic, payload) => hear({ client, ...partOf(String(payload)) }));
  await connection.subscribeAsync(topicOf(client, "response"), { qos: 1 });
  return connection;
}

function partOf(payload: string): Omit<Heard, "client"> {
  const { id, seq, text, done, error } = JSON.parse(payload);
  return { id, seq, text, done: done === true, ...(error && { error: error.code }) };
}
