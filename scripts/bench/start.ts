import { spawn } from "node:child_process";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { connectDevice } from "../../test/support/bare-device.ts";
import { answers, startModelServer } from "../../test/support/model-server.ts";
import { startMosquitto } from "../../test/support/mosquitto.ts";
import { readPackets } from "../../test/support/packets.ts";
import { temporaryHome, quickConfig } from "../../test/support/picoclaw.ts";
import { cpuOf } from "../../test/support/proc.ts";
import { temporaryFolder } from "../../test/support/temporary.ts";
import { picoclaw } from "./contender.ts";
import type { Contender, Setup } from "./contender.ts";
import type { Figure } from "./figure.ts";
import { fillStore } from "./store.ts";

const binary = join(import.meta.dirname, "../../dist/picoclaw");
const NODE = { name: "node -e 1", command: ["node", "-e", "1"] };

interface Kind extends Pick<Setup, "qos"> {
  readonly withModel: boolean;
  /** Stored before the start. */
  readonly conversations: number;
}

interface Start {
  readonly subscribed: number;
  readonly answered: number;
  /** Milliseconds of CPU until then. */
  readonly cpu: number;
}

/** How long commands take, and a gateway from its start to its first answer. */
export async function* startFigures(
  contenders: readonly Contender[],
  runs: number,
): AsyncGenerator<Figure> {
  yield await pairs("`--version`", [binary, "--version"], NODE, runs);
  yield await pairs("`try /help`", [binary, "try", "/help"], NODE, runs);
  yield* sendFigure(runs);
  const [reference, go] = [
    contenders.find(isReference),
    contenders.find(({ name }) => name === "Go"),
  ];
  for (const [kind, setup] of [
    ["without a model", { qos: 0, withModel: false, conversations: 0 }],
    ["with a model, QoS 1", { qos: 1, withModel: true, conversations: 0 }],
    [
      "with a model, QoS 1, 10,000 conversations",
      { qos: 1, withModel: true, conversations: 10_000 },
    ],
  ] as const) {
    const ours: Start[] = [];
    const theirs: Start[] = [];
    const others: Start[] = [];
    await using home = await temporaryFolder();
    if (setup.conversations > 0) await fillStore(home.path, setup.conversations);
    for (let run = 0; run <= runs; run += 1) {
      const measured = await startOf(picoclaw, home.path, setup);
      const beside = reference && (await startOf(reference, home.path, setup));
      const third = go && (await startOf(go, home.path, setup));
      // The first run only warms the caches.
      if (run === 0) continue;
      ours.push(measured);
      if (beside !== undefined) theirs.push(beside);
      if (third !== undefined) others.push(third);
    }
    for (const [name, unit, key] of [
      [`exec to SUBACK ${kind}`, "ms", "subscribed"],
      [`exec to first answer ${kind}`, "ms", "answered"],
      [`CPU of start and one request ${kind}`, "ms", "cpu"],
    ] as const) {
      const of = (all: readonly Start[]): number[] => all.map((one) => one[key]);
      yield {
        name,
        unit,
        ours: of(ours),
        reference: reference && { name: reference.name, values: of(theirs) },
        go: go && { name: go.name, values: of(others) },
      };
    }
  }
}

function isReference({ name }: Contender): boolean {
  return name === "C";
}

async function* sendFigure(runs: number): AsyncGenerator<Figure> {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url));
  await using gateway = await picoclaw.start({
    port: broker.port,
    home: home.path,
    qos: 0,
    version: 4,
  });
  await gateway.said('"msg":"connected"');
  const client = ["-h", "127.0.0.1", "-p", `${broker.port}`];
  const topics = ["-t", "/picoclaw/assistant/rr/request", "-e", "/picoclaw/assistant/rr/response"];
  const command = ["mosquitto_rr", ...client, ...topics, "-m", '{"text":"/help"}'];
  const env = ["env", `PICOCLAW_HOME=${home.path}`];
  const ours = [...env, binary, "send", "device1", "/help"];
  yield await pairs(
    "`send` whole",
    ours,
    { name: "mosquitto_rr", command: [...env, ...command] },
    runs,
  );
}

/** Whole commands in turn. */
async function pairs(
  name: string,
  command: readonly string[],
  reference: { readonly name: string; readonly command: readonly string[] },
  runs: number,
): Promise<Figure> {
  const [ours, values]: [number[], number[]] = [[], []];
  for (let run = 0; run <= runs; run += 1) {
    const [time, other] = [await timeOf(command), await timeOf(reference.command)];
    if (run === 0) continue;
    ours.push(time);
    values.push(other);
  }
  return { name, unit: "ms", ours, reference: { name: reference.name, values } };
}

/** Does not block: a broker whose log nobody reads would stand still. */
async function timeOf([program = "", ...args]: readonly string[]): Promise<number> {
  const begun = performance.now();
  const child = spawn(program, args, { stdio: "ignore" });
  const status = await new Promise<number | null>((resolve) => child.on("close", resolve));
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${status}`);
  return performance.now() - begun;
}

async function startOf(
  contender: Contender,
  home: string,
  { qos, withModel }: Kind,
): Promise<Start> {
  await using broker = await startMosquitto();
  await using model = await startModelServer();
  model.otherwise(answers("It is late."));
  await using relay = await startRelay(broker.port);
  const setup = { port: broker.port, qos, version: 4 } as const;
  using device = await connectDevice(contender, setup);
  const base = withModel ? model.base : undefined;
  const begun = performance.now();
  await using running = await contender.start({ ...setup, port: relay.port, home, model: base });
  const subscribed = (await relay.subscribed) - begun;
  await device.ask("first", withModel ? "How late is it?" : contender.command);
  const start = { subscribed, answered: performance.now() - begun, cpu: await cpuOf(running.pid) };
  // After kill -9 the next start would send this answer again, and be measured by that.
  running.kill("SIGTERM");
  await running.ended;
  return start;
}

/** Stands before a broker and sees its SUBACK. */
async function startRelay(
  target: number,
): Promise<{ port: number; subscribed: Promise<number> } & AsyncDisposable> {
  const subscribed = Promise.withResolvers<number>();
  const server = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    for (const socket of [near, far]) socket.setNoDelay(true).on("error", () => {});
    near.on("close", () => far.destroy()).pipe(far);
    far.on("close", () => near.destroy()).pipe(near);
    readPackets(far, ({ type }) => {
      if (type === 9) subscribed.resolve(performance.now());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" ? (address?.port ?? 0) : 0,
    subscribed: subscribed.promise,
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}
