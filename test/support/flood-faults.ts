import { setTimeout as pause } from "node:timers/promises";
import { openPlace, type FloodFigures } from "./flood-run.ts";
import { endsOf, openAsker, requestOf, tallyOf, watchBystander, type Asker } from "./flood.ts";
import { startModelServer, streams } from "./model-server.ts";
import { quickConfig, startGateway, writeConfig, type Running } from "./picoclaw.ts";
import { forgetPeak, memoryOf } from "./proc.ts";
import { startProxy, type Proxy } from "./proxy.ts";
import { startFloodingBroker, type FloodingOptions } from "./scripted-broker.ts";
import { temporaryFolder } from "./temporary.ts";
import { until } from "./until.ts";

/** How requests ended that something happened to. */
export interface FaultFigures {
  readonly asked: number;
  readonly done: number;
  readonly ends: Readonly<Record<string, number>>;
  readonly seconds: number;
  readonly log: string;
}

const ANSWER = "It is twenty-one degrees, and the windows are closed.";

/** What the model of these runs says after some time. */
const model = async (milliseconds: number) => {
  const server = await startModelServer();
  server.otherwise(streams({ text: ANSWER, milliseconds }));
  return server;
};

/** Asks as several clients in turns, all over one connection. */
async function askAs(asker: Asker, clients: number, count: number): Promise<void> {
  const all = Array.from({ length: count }, (_, index) =>
    asker.ask(`device${index % clients}`, `r${index}`),
  );
  await Promise.all(all);
}

function figuresOf(asker: Asker, asked: number, facts: { begun: number; log: string }) {
  // What says something else than the answer is no answer.
  const done = [...asker.ends].filter(
    ([id, end]) => end.includes("ok") && asker.texts.get(id) === ANSWER,
  ).length;
  const seconds = (performance.now() - facts.begun) / 1000;
  return { asked, done, ends: tallyOf(asker), seconds, log: facts.log };
}

/**
 * Answers of as many clients at QoS 2, all given while the broker's acknowledgements vanish; then the
 * connection is cut, and once more while what was open is sent again.
 */
export async function runCut(version: 4 | 5, stallMs: number): Promise<FaultFigures> {
  const count = 40;
  const gate = Promise.withResolvers<void>();
  await using llm = await startModelServer();
  llm.otherwise(async (request, response) => {
    await gate.promise;
    await streams({ text: ANSWER })(request, response);
  });
  let proxy: Proxy | undefined;
  await using place = await openPlace({
    broker: "raised",
    qos: 2,
    version,
    model: llm.base,
    defaults: { max_parallel_turns: count },
    way: async ({ port }) => (proxy = await startProxy(port)),
  });
  const gateway = await place.start();
  await using asker = await openAsker(place.url, { client: "+", qos: 2, version });
  const begun = performance.now();
  await askAs(asker, count, count);
  await until("every turn runs", () => llm.requests.length === count);
  for (const muteMs of [500, 20]) {
    const before = connectionsOf(gateway);
    proxy?.mute(true);
    gate.resolve();
    await pause(muteMs);
    proxy?.reset();
    proxy?.mute(false);
    await until("connected again", () => connectionsOf(gateway) > before);
  }
  await endsOf(asker, count, stallMs);
  return figuresOf(asker, count, { begun, log: gateway.stderr() });
}

const connectionsOf = (gateway: Running): number =>
  gateway.stderr().split('"msg":"connected"').length;

/** mosquitto as Debian runs it: what it holds is saved twice an hour. */
const SAVED_SELDOM = [
  "listener {port} 127.0.0.1",
  "allow_anonymous true",
  "persistence true",
  "persistence_location {folder}/",
  "autosave_interval 1800",
];

/** Gateway and broker are killed in the middle; the devices subscribe one second after they are back. */
export async function runKilled(
  broker: "embedded" | "mosquitto",
  stallMs: number,
): Promise<FaultFigures> {
  const count = 60;
  await using llm = await model(200);
  await using place = await openPlace({
    broker: broker === "embedded" ? "embedded" : "default",
    ...(broker === "mosquitto" && { lines: SAVED_SELDOM }),
    qos: 1,
    version: 5,
    model: llm.base,
  });
  const first = await place.start();
  const version = broker === "embedded" ? 4 : 5;
  const late = { client: "+", qos: 1, version, subscribesAfterMs: 1_000 } as const;
  await using asker = await openAsker(place.url, late);
  const begun = performance.now();
  await askAs(asker, 12, count);
  await endsOf(asker, 15, stallMs);
  first.kill("SIGKILL");
  await place.mosquitto?.kill("SIGKILL");
  await first.ended;
  await place.mosquitto?.start();
  const second = await place.start();
  await endsOf(asker, count, stallMs);
  return figuresOf(asker, count, { begun, log: second.stderr() });
}

/**
 * Requests too large for the gateway, among them those that are larger than what it announces. Their
 * answers hold no id: it is in the payload, which is not looked at.
 */
export async function runLarge(stallMs: number): Promise<FaultFigures> {
  const sizes = [300_000, 2 ** 20, 2 ** 21, 2 ** 23];
  await using place = await openPlace({ broker: "default", qos: 1, version: 5 });
  const gateway = await place.start();
  await using asker = await openAsker(place.url, { client: "flood", qos: 1, version: 5 });
  const ends = new Map<string, string[]>();
  asker.client.on("message", (_topic, payload) => {
    const { error, done } = JSON.parse(String(payload));
    if (done === true) ends.set(`answer ${ends.size}`, [error?.code ?? "ok"]);
  });
  const begun = performance.now();
  for (const [index, bytes] of sizes.entries()) {
    await asker.ask("flood", `r${index}`, requestOf(`r${index}`, "How warm is it? ", bytes));
    await endsOf({ ends }, index + 1, stallMs / sizes.length);
  }
  const done = [...ends.values()].filter((end) => end.join() === "too_large").length;
  const seconds = (performance.now() - begun) / 1000;
  return { asked: sizes.length, done, ends: tallyOf({ ends }), seconds, log: gateway.stderr() };
}

/** All that a broker may send unacknowledged, while another client asks at QoS 0. */
export async function runUnacknowledged(
  options: FloodingOptions & { readonly settings?: object },
  stallMs: number,
): Promise<FloodFigures & { readonly unacknowledged: number }> {
  await using broker = await startFloodingBroker(options);
  await using home = await temporaryFolder();
  const settings = { qos: 1, protocol_version: options.version, ...options.settings };
  const more = { agents: { defaults: { workspace: `${home.path}/workspace` } } };
  await writeConfig(home.path, quickConfig(broker.url, settings, more));
  await using gateway = await startGateway({ home: home.path });
  const { rss: atStart } = await memoryOf(gateway.pid);
  await forgetPeak(gateway.pid);
  const begun = performance.now();
  broker.flood();
  const bystander = watchBystander({ ends: broker.others, ask: broker.ask });
  // All may be stored, and acknowledged, before the first is answered.
  const progress = (): number => broker.ends.size - broker.unacknowledged();
  await endsOf(broker, options.count, stallMs, progress);
  await until("all is acknowledged", () => broker.unacknowledged() === 0, 5_000).catch(() => {});
  const seconds = (performance.now() - begun) / 1000;
  const figures = await bystander.stop();
  const { peak } = await memoryOf(gateway.pid);
  return {
    asked: options.count,
    done: broker.ends.size,
    ends: tallyOf(broker),
    bystander: figures,
    lost: broker.connections() - 1,
    unacknowledged: broker.unacknowledged(),
    grownMiB: peak - atStart,
    seconds,
    log: gateway.stderr(),
  };
}
