import { setTimeout as pause } from "node:timers/promises";
import { connectAsync, type MqttClient } from "mqtt";

/** A device, or a whole fleet on one connection, that asks much at once and counts how each request ended. */
export interface Asker extends AsyncDisposable {
  readonly client: MqttClient;
  /** Publishes one request; resolves when the broker took it over (at once with QoS 0). */
  readonly ask: (client: string, id: string, payload?: string) => Promise<void>;
  /** The ends of each request, by its id: `ok`, or the code of an error. */
  readonly ends: ReadonlyMap<string, readonly string[]>;
  /** The text of each answer, by its id, put together as the contract says. */
  readonly texts: ReadonlyMap<string, string>;
  /** How often the connection was lost. */
  lost(): number;
}

export interface AskerOptions {
  /** The client that listens; `+` listens for all. */
  readonly client: string;
  readonly qos: 0 | 1 | 2;
  readonly version: 4 | 5;
  /** Its answers are subscribed to so long after each connect, and lost with the connection. */
  readonly subscribesAfterMs?: number;
  /** How many requests may be unacknowledged; with QoS 2 what mosquitto grants, where it is left out. */
  readonly atOnce?: number;
  /** The broker keeps what this one misses, by its client id. */
  readonly clientId?: string;
}

/** mosquitto 2.0.11 grants a client of MQTT 5 so many of QoS 2 at once. */
const WINDOW = 15;

const topicOf = (client: string, level: "request" | "response"): string =>
  `/picoclaw/assistant/${client}/${level}`;

/** The payload of a request; the text fills it up to that many bytes. */
export function requestOf(id: string, text = "What time is it?", bytes = 0): string {
  const short = JSON.stringify({ id, text });
  return JSON.stringify({ id, text: text + "x".repeat(Math.max(0, bytes - short.length)) });
}

export async function openAsker(url: string, options: AskerOptions): Promise<Asker> {
  const { client: name, qos, version, subscribesAfterMs, clientId } = options;
  const ends = new Map<string, string[]>();
  const texts = new Map<string, string>();
  const asked = new Set<string>();
  const asking = new Set<Promise<unknown>>();
  const { atOnce = qos === 2 ? WINDOW : Number.POSITIVE_INFINITY } = options;
  let lost = 0;
  const client = await connectAsync(url.replace("tcp:", "mqtt:"), {
    protocolVersion: version,
    reconnectPeriod: 200,
    resubscribe: subscribesAfterMs === undefined,
    ...(clientId !== undefined && { clientId, clean: false }),
  });
  client.on("error", () => {});
  client.on("close", () => (lost += 1));
  client.on("message", (_topic, payload) => {
    const part = JSON.parse(String(payload));
    // Who listens for all hears what others asked, too.
    if (asked.has(part.id)) hear(part, ends, texts);
  });
  const subscribe = (): Promise<unknown> =>
    client.subscribeAsync(topicOf(name, "response"), { qos: qos === 0 ? 0 : 1 });
  await subscribe();
  if (subscribesAfterMs !== undefined) {
    client.on("connect", () => {
      void pause(subscribesAfterMs).then(subscribe, () => {});
    });
  }
  return {
    client,
    ends,
    texts,
    lost: () => lost,
    async ask(asker, id, payload = requestOf(id)) {
      asked.add(id);
      while (asking.size >= atOnce) await Promise.race(asking);
      const taken = client.publishAsync(topicOf(asker, "request"), payload, { qos });
      asking.add(taken);
      await taken.finally(() => asking.delete(taken));
    },
    [Symbol.asyncDispose]: () => client.endAsync(true),
  };
}

interface Part {
  readonly id: string;
  readonly seq: number;
  readonly text: string;
  readonly done?: boolean;
  readonly error?: { readonly code: string };
}

function hear(
  { id, seq, text, done, error }: Part,
  ends: Map<string, string[]>,
  texts: Map<string, string>,
): void {
  texts.set(id, (seq === 0 ? "" : (texts.get(id) ?? "")) + text);
  if (done !== true) return;
  const all = ends.get(id) ?? [];
  all.push(error?.code ?? "ok");
  ends.set(id, all);
}

/** Waits until so many requests have ended, or there is no progress for that long: by default none ends. */
export async function endsOf(
  { ends }: Pick<Asker, "ends">,
  count: number,
  stallMs: number,
  progress: () => number = () => ends.size,
): Promise<void> {
  let before = progress();
  let since = performance.now();
  while (ends.size < count && performance.now() - since < stallMs) {
    await pause(20);
    if (progress() > before) since = performance.now();
    before = progress();
  }
}

/** How many requests ended in which way. */
export function tallyOf({ ends }: Pick<Asker, "ends">): Record<string, number> {
  const tally: Record<string, number> = {};
  for (const end of ends.values()) {
    const name = end.join("+");
    tally[name] = (tally[name] ?? 0) + 1;
  }
  return tally;
}

export interface Bystander {
  /** Ends it with the answer that it waits for, or without one after ten seconds. */
  stop(): Promise<BystanderFigures>;
}

export interface BystanderFigures {
  readonly asked: number;
  readonly answered: number;
  readonly longestMs: number;
}

/** Names in turns, so that nobody's own limit is reached. */
const NAMES = Array.from({ length: 12 }, (_, index) => `bystander${index}`);
const ASK_MS = 200;
const MISSED_MS = 10_000;

/** Who a bystander asks, and where the ends of its requests are. */
export interface Questioning {
  readonly ends: ReadonlyMap<string, unknown>;
  readonly ask: (client: string, id: string) => void;
}

/** Asks again and again, and measures how long each answer takes. */
export function watchBystander({ ends, ask }: Questioning): Bystander {
  const over = new AbortController();
  let asked = 0;
  let longestMs = 0;
  const loop = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const id = `bystander-${asked}`;
      const begun = performance.now();
      ask(NAMES[asked % NAMES.length] ?? "", id);
      asked += 1;
      const waited = (): number => performance.now() - begun;
      while (!ends.has(id) && waited() < MISSED_MS) await pause(5);
      longestMs = Math.max(longestMs, waited());
      await pause(ASK_MS, undefined, { signal: over.signal }).catch(() => {});
    }
  };
  const ended = loop();
  return {
    async stop() {
      over.abort();
      await ended;
      return { asked, answered: ends.size, longestMs };
    },
  };
}

/** Another client that asks again and again on a connection of its own. */
export async function startBystander(
  url: string,
  { version, qos }: Pick<AskerOptions, "version" | "qos">,
): Promise<Bystander> {
  const asker = await openAsker(url, { client: "nobody", qos, version });
  for (const name of NAMES) await asker.client.subscribeAsync(topicOf(name, "response"), { qos });
  const { ends, ask } = asker;
  const watch = watchBystander({ ends, ask: (name, id) => void ask(name, id).catch(() => {}) });
  return {
    async stop() {
      const figures = await watch.stop();
      await asker[Symbol.asyncDispose]();
      return figures;
    },
  };
}
