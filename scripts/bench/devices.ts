import { connectAsync } from "mqtt";
import type { Mosquitto } from "../../test/support/mosquitto.ts";
import { quantile } from "./figure.ts";

/** Clients of a gateway that ask over one connection. */
export interface Devices extends AsyncDisposable {
  /** Requests without an answer: when they were asked, by their ids. */
  readonly open: ReadonlyMap<string, number>;
  /** Milliseconds from each request to the end of its answer. */
  readonly times: number[];
  /** Asks as that client, else as one that has not asked before; returns the id. */
  ask(client?: string): string;
}

export async function openDevices(broker: Mosquitto): Promise<Devices> {
  const client = await connectAsync(broker.url, { clientId: "bench" });
  const open = new Map<string, number>();
  const times: number[] = [];
  let asked = 0;
  client.on("message", (_topic, payload) => {
    const { id, done } = JSON.parse(String(payload));
    const askedAt = done === true ? open.get(id) : undefined;
    if (askedAt === undefined) return;
    open.delete(id);
    times.push(performance.now() - askedAt);
  });
  await client.subscribeAsync("/picoclaw/assistant/+/response", { qos: 1 });
  return {
    open,
    times,
    ask(name) {
      const id = `r${asked}`;
      asked += 1;
      open.set(id, performance.now());
      const payload = JSON.stringify({ text: "How are you?", id });
      client.publish(`/picoclaw/assistant/${name ?? clientOf(id)}/request`, payload, { qos: 1 });
      return id;
    },
    [Symbol.asyncDispose]: () => client.endAsync(true),
  };
}

/** The client that asks if none is named. */
export function clientOf(id: string): string {
  return `client-${id}`;
}

/** Percentiles of milliseconds. */
export function summaryOf(values: readonly number[]): string {
  const at = (percentile: number): string =>
    `p${percentile} ${Math.round(quantile(values, percentile / 100))} ms`;
  return `${at(50)}, ${at(90)}, ${at(99)} of ${values.length}`;
}
