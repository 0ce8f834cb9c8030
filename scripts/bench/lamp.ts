import { setTimeout as pause } from "node:timers/promises";
import { connectAsync } from "mqtt";
import { ASSISTANT, connectBare } from "../../test/support/bare-device.ts";
import type { BareClient } from "../../test/support/bare-device.ts";
import { sends, startModelServer, streamEvents } from "../../test/support/model-server.ts";
import type { Behaviour, ModelServer, ReceivedRequest } from "../../test/support/model-server.ts";
import { startMosquitto } from "../../test/support/mosquitto.ts";
import type { Mosquitto } from "../../test/support/mosquitto.ts";
import { modelConfig, startGateway, writeConfig } from "../../test/support/picoclaw.ts";
import { temporaryFolder } from "../../test/support/temporary.ts";
import { quantile } from "./figure.ts";
import type { Figure } from "./figure.ts";

const TURNS = 20;
/** How long a gateway stands before the first question. */
const IDLE_MS = 2_000;
/** Between two questions: people do not ask sooner, and the kernel has acknowledged all packets by then. */
const PAUSE_MS = 300;
/** After this the gateway has dropped compiled code. */
const QUIET_MS = 12_000;

const LAMP = "zigbee2mqtt/kitchen lamp";
const METER = "zigbee2mqtt/meter";
const METER_MS = 50;
const PROFILES = {
  "panel-*": {
    tools: ["devices", "set_device"],
    topics: { read: ["zigbee2mqtt/#"], publish: ["zigbee2mqtt/+/set"] },
  },
};

/** The four parts of a turn that are picoclaw's; each has one hop through the broker or one to the model. */
const PARTS = [
  "question → first model call",
  "its answer → command at the lamp",
  "state → second model call",
  "its answer → whole answer",
] as const;
/** Hops through the broker: question, command, state, answer. */
const HOPS = 4;

/** Milliseconds. */
interface Turn {
  /** Of `PARTS`, with their hops. */
  readonly parts: readonly number[];
  /** In the hands of the model server and the lamp. */
  readonly others: number;
}

/** Turns, by what came before them. */
interface Turns {
  readonly first: Turn[];
  readonly later: Turn[];
  readonly afterQuiet: Turn[];
}

/** “Turn on the kitchen lamp” with a lamp that is announced for Home Assistant: how much of it is picoclaw's own. */
export async function* lampFigures(runs: number): AsyncGenerator<Figure> {
  const turns: Turns = { first: [], later: [], afterQuiet: [] };
  const hops: number[] = [];
  for (let run = 0; run < runs; run += 1) await measure(turns, hops);
  const hopsOfTurn = HOPS * quantile(hops, 0.5);
  const figure = (
    what: string,
    some: readonly Turn[],
    pick: (values: number[]) => number[] = (values) => values,
  ): Figure => ({
    name: `own time of “Turn on the kitchen lamp”, ${what}`,
    unit: "ms",
    ours: pick(some.map(({ parts }) => sum(parts) - hopsOfTurn)),
    reference: {
      name: "broker, model and lamp",
      values: pick(some.map(({ others }) => others + hopsOfTurn)),
    },
  });
  yield figure("the first", turns.first);
  yield figure("after 12 s of quiet", turns.afterQuiet);
  for (const percentile of [50, 95])
    yield figure(`p${percentile}`, turns.later, (all) => [quantile(all, percentile / 100)]);
  for (const [index, part] of PARTS.entries())
    yield {
      name: `… ${part}`,
      unit: "ms",
      ours: turns.later.map(({ parts }) => parts[index] ?? 0),
      reference: { name: "one hop", values: hops },
    };
}

async function measure({ first, later, afterQuiet }: Turns, hops: number[]): Promise<void> {
  await using home = await openHome();
  first.push(await home.turn());
  for (let turn = 1; turn < TURNS; turn += 1) {
    await pause(PAUSE_MS);
    hops.push(await home.hop());
    later.push(await home.turn());
  }
  await pause(QUIET_MS);
  afterQuiet.push(await home.turn());
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}

interface Home extends AsyncDisposable {
  /** Asks, and looks whether the answer tells the new state. */
  turn(): Promise<Turn>;
  /** Milliseconds of a message from a plain client through the broker to itself. */
  hop(): Promise<number>;
}

async function openHome(): Promise<Home> {
  await using stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const model = stack.use(await startModelServer());
  const home = stack.use(await temporaryFolder());
  /** When bytes arrived at the model server and the lamp, and when they left. */
  const stamps: number[] = [];
  stack.use(await startLamp(broker, stamps));
  const requester = stack.use(await connectRequester(broker));
  const plain = stack.use(await connectPlain(broker));
  const config = { ...modelConfig(broker.url, model.base), tools: { profiles: PROFILES } };
  await writeConfig(home.path, config);
  stack.use(await startGateway({ home: home.path }));
  await pause(IDLE_MS);
  const moved = stack.move();
  return {
    hop: () => plain.hop(),
    async turn() {
      scriptTurn(model, stamps);
      const { text, askedAt, answeredAt } = await requester.ask("Turn on the kitchen lamp");
      if (!text.includes("reports: on")) throw new Error(`the lamp is not on: ${text}`);
      const times = [askedAt, ...stamps.splice(0), answeredAt];
      const spans = times.slice(1).map((time, index) => time - (times[index] ?? 0));
      const parts = spans.filter((_, index) => index % 2 === 0);
      if (parts.length !== PARTS.length) throw new Error(`it took ${parts.length} parts: ${text}`);
      return { parts, others: sum(spans) - sum(parts) };
    },
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

/** Two calls of the model: the tool, then its result as the answer. */
function scriptTurn(model: ModelServer, stamps: number[]): void {
  const timed =
    (eventsFor: (request: ReceivedRequest) => readonly string[]): Behaviour =>
    async (request, response) => {
      const body = eventsFor(request).join("");
      stamps.push(request.arrivedAt, performance.now());
      await sends(body)(request, response);
    };
  const input = JSON.stringify({ name: "kitchen lamp", state: "on" });
  const toolCalls = [{ name: "set_device", arguments: input }];
  model.script(
    timed(() => streamEvents({ toolCalls, finish: "tool_calls" })),
    timed((request) => streamEvents({ text: resultIn(request) })),
  );
}

function resultIn({ body }: ReceivedRequest): string {
  return body.messages.findLast(({ role }) => role === "tool")?.content ?? "";
}

/**
 * A lamp as zigbee2mqtt announces it: it reports its state after each command at once, not retained. A meter reports
 * its power all the time, as in most homes.
 */
async function startLamp({ port, url }: Mosquitto, stamps: number[]): Promise<AsyncDisposable> {
  const program = await connectAsync(url);
  const configs = {
    "light/lamp": {
      command_topic: `${LAMP}/set`,
      device: { identifiers: ["zigbee2mqtt_0x000b57fffec6a5b2"], name: "kitchen lamp" },
      name: null,
      schema: "json",
      state_topic: LAMP,
      unique_id: "0x000b57fffec6a5b2_light_zigbee2mqtt",
    },
    "sensor/meter": { name: "Meter", state_topic: METER, unique_id: "meter_zigbee2mqtt" },
  };
  for (const [id, config] of Object.entries(configs)) {
    const topic = `homeassistant/${id}/config`;
    await program.publishAsync(topic, JSON.stringify(config), { qos: 1, retain: true });
  }
  const timer = setInterval(() => program.publish(METER, "42"), METER_MS);
  const link = { port, qos: 0, version: 4, filter: `${LAMP}/set` } as const;
  const client: BareClient = await connectBare("lamp", link, () => {
    const heardAt = performance.now();
    stamps.push(heardAt, client.publish(LAMP, '{"state":"ON"}'));
  });
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      client[Symbol.dispose]();
      await program.endAsync(true);
    },
  };
}

async function connectRequester({ port }: Mosquitto) {
  const { prefix } = ASSISTANT;
  let text = "";
  let onDone: ((answeredAt: number) => void) | undefined;
  const link = { port, qos: 0, version: 4, filter: `${prefix}/panel-1/response` } as const;
  const client = await connectBare("panel-1", link, ({ bytes, topic }) => {
    const heardAt = performance.now();
    const part = JSON.parse(bytes.subarray(2 + topic.length).toString());
    text += part.text ?? "";
    if (part.done === true) onDone?.(heardAt);
  });
  return {
    async ask(question: string) {
      text = "";
      const answered = Promise.withResolvers<number>();
      onDone = answered.resolve;
      const askedAt = client.publish(
        `${prefix}/panel-1/request`,
        JSON.stringify({ text: question }),
      );
      const answeredAt = await answered.promise;
      return { text, askedAt, answeredAt };
    },
    [Symbol.dispose]: () => client[Symbol.dispose](),
  };
}

async function connectPlain({ port }: Mosquitto) {
  let onHeard: ((heardAt: number) => void) | undefined;
  const link = { port, qos: 0, version: 4, filter: "plain" } as const;
  const client = await connectBare("plain", link, () => onHeard?.(performance.now()));
  return {
    async hop() {
      const heard = Promise.withResolvers<number>();
      onHeard = heard.resolve;
      const leftAt = client.publish("plain", '{"state":"ON"}');
      return (await heard.promise) - leftAt;
    },
    [Symbol.dispose]: () => client[Symbol.dispose](),
  };
}
