import { connectAsync, type MqttClient } from "mqtt";
import type { Absence, Asked, Heard } from "./invariants.ts";
import { answerTo } from "./model.ts";

/** Devices that send requests and receive answers, whatever happens to the broker. */
export interface Devices extends AsyncDisposable {
  /** Publishes one request at QoS 1, which the broker may or may not acknowledge; `padding` makes its text longer. */
  ask(client: string, padding?: string): void;
  /** Unsubscribes a client, and subscribes it again; the connection stays. */
  leave(client: string): Promise<void>;
  comeBack(client: string): Promise<void>;
  readonly asked: readonly Asked[];
  readonly heard: readonly Heard[];
  readonly absences: readonly Absence[];
  /** Ids of acknowledged requests that have no final answer yet. */
  open(): string[];
  /** Requests that the broker has not acknowledged yet. */
  unacknowledged(): number;
}

export interface DevicesOptions {
  readonly clients: readonly string[];
  /** Whether a rejection ends a request, even one with `retry_after`. */
  readonly mayBeRejected: boolean;
}

export async function openDevices(
  url: string,
  { clients, mayBeRejected }: DevicesOptions,
): Promise<Devices> {
  const asked: (Asked & { isAcknowledged: boolean })[] = [];
  const heard: Heard[] = [];
  const absences: { client: string; from: number; to: number }[] = [];
  const answered = new Set<string>();
  const open = new Set<string>();
  const unacknowledged = new Set<string>();
  const connections = new Map<string, Connection>();
  const hear = (part: Heard): void => {
    heard.push({ ...part, when: performance.now() });
    if (!part.done || (part.error === "busy" && !mayBeRejected)) return;
    answered.add(nameOf(part));
    open.delete(nameOf(part));
  };
  for (const client of clients) connections.set(client, await connect(url, client, hear));
  const of = (client: string): Connection => connections.get(client) ?? fail(client);
  return {
    asked,
    heard,
    absences,
    ask(client, padding = "") {
      const id = `r${asked.length}`;
      const text = `${client} ${id}${padding}`;
      const [from, expected] = [performance.now(), answerTo(text)];
      const request = { client, id, expected, isAcknowledged: false, from };
      asked.push(request);
      unacknowledged.add(nameOf(request));
      const payload = JSON.stringify({ text, id });
      of(client).client.publish(topicOf(client, "request"), payload, { qos: 1 }, (error) => {
        if (error) return;
        request.isAcknowledged = true;
        unacknowledged.delete(nameOf(request));
        if (!answered.has(nameOf(request))) open.add(nameOf(request));
      });
    },
    async leave(client) {
      absences.push({ client, from: performance.now(), to: Number.POSITIVE_INFINITY });
      await of(client).listen(false);
    },
    async comeBack(client) {
      await of(client).listen(true);
      const last = absences.findLast((absence) => absence.client === client);
      if (last) last.to = performance.now();
    },
    open: () => [...open],
    unacknowledged: () => unacknowledged.size,
    async [Symbol.asyncDispose]() {
      for (const { client } of connections.values()) await client.endAsync(true);
    },
  };
}

function nameOf({ client, id }: { readonly client: string; readonly id: string }): string {
  return `${client} ${id}`;
}

function fail(client: string): never {
  throw new Error(`no device is called ${client}`);
}

export function topicOf(client: string, level: "request" | "response"): string {
  return `/picoclaw/assistant/${client}/${level}`;
}

interface Connection {
  readonly client: MqttClient;
  /** Subscribes, now and after each connect, or unsubscribes. */
  listen(on: boolean): Promise<void>;
}

async function connect(
  url: string,
  name: string,
  hear: (part: Heard) => void,
): Promise<Connection> {
  const client = await connectAsync(url, {
    clientId: `device-${name}`,
    clean: false,
    reconnectPeriod: 200,
    keepalive: 30,
    protocolVersion: 4,
  });
  client.on("error", () => {});
  client.on("message", (_topic, payload) => hear({ client: name, ...partOf(String(payload)) }));
  let isListening = true;
  const apply = async (): Promise<void> => {
    const topic = topicOf(name, "response");
    if (isListening) await client.subscribeAsync(topic, { qos: 1 });
    else await client.unsubscribeAsync(topic);
  };
  // A killed broker may have lost a subscription that it had not saved.
  client.on("connect", () => void apply().catch(() => {}));
  await apply();
  return {
    client,
    async listen(on) {
      isListening = on;
      await apply();
    },
  };
}

export function partOf(payload: string): Omit<Heard, "client"> {
  const { id, seq, text, done, error } = JSON.parse(payload);
  const isForGood = error !== undefined && error.retry_after === undefined;
  return {
    id,
    seq,
    text,
    done: done === true,
    ...(error && { error: error.code, isForGood }),
  };
}
