import { existsSync, readFileSync, rmSync } from "node:fs";
import { readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ASSISTANT, connectDevice } from "./bare-device.ts";
import type { Counts, Inside } from "./look-inside.ts";
import { answers, startModelServer } from "./model-server.ts";
import { startMosquitto } from "./mosquitto.ts";
import { modelConfig, startGateway, temporaryHome } from "./picoclaw.ts";
import { startProxy } from "./proxy.ts";
import { until } from "./until.ts";

/** A gateway with a model that one can look into, and its devices. Its connection comes back after 20 ms. */
export interface WatchedGateway extends AsyncDisposable {
  /** How often it has lost its connection. */
  readonly lost: () => number;
  /** Asks so many at once; resolves when all are answered. Each index is another client. */
  askAll(count: number, requestOf: (index: number) => Asked): Promise<void>;
  /** Cuts its connection; resolves when it is connected again. */
  cut(): Promise<void>;
  /** Kills the broker, which forgets its sessions; resolves when the gateway is subscribed again. */
  killBroker(): Promise<void>;
  /** What it holds now, by name, when it has been quiet for a while. */
  look(): Promise<Counts>;
}

export interface Asked {
  readonly client: string;
  readonly text: string;
  readonly qos: 0 | 1;
}

const BROKER = [
  "log_type none",
  "log_type notice",
  "listener {port} 127.0.0.1",
  "allow_anonymous true",
  "set_tcp_nodelay true",
  "max_queued_messages 0",
];
const ANSWERED_MS = 30_000;
const ASK_AGAIN_MS = 20;
/** The usage of a client that asked stays in memory for 5 s; after that, others take its place. */
const HELD_MS = 5_500;
const OTHERS = 300;

export async function startWatchedGateway(): Promise<WatchedGateway> {
  await using stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto({ lines: BROKER }));
  const proxy = stack.use(await startProxy(broker.port));
  const model = stack.use(await startModelServer({ forgets: true }));
  model.otherwise(answers("It is late."));
  const gateway = stack.use(await startWatched(modelConfig(proxy.url, model.base)));
  const connect = () => connectDevice(ASSISTANT, { port: broker.port, qos: 1, version: 4 });
  let device = await connect();
  stack.defer(() => device[Symbol.dispose]());
  const connections = (): number => broker.log().split(" as picoclaw-mqtt-").length - 1;
  const reconnected = (had: number): Promise<void> =>
    until("the gateway is connected again", () => connections() > had);
  const all = stack.move();
  let looks = 0;
  const watched: WatchedGateway = {
    lost: () => connections() - 1,
    async askAll(count, requestOf) {
      let answered = 0;
      for (let index = 0; index < count; index += 1) {
        const { client, text, qos } = requestOf(index);
        void device.ask(client, text, qos).then(() => (answered += 1));
      }
      await until(`all ${count} are answered`, () => answered === count, ANSWERED_MS);
    },
    async cut() {
      const had = connections();
      proxy.reset();
      await reconnected(had);
    },
    async killBroker() {
      const had = connections();
      device[Symbol.dispose]();
      await broker.kill();
      await broker.start();
      device = await connect();
      await reconnected(had);
      let isSubscribed = false;
      await until("the gateway is subscribed again", async () => {
        void device.ask("probe", "/help").then(() => (isSubscribed = true));
        await pause(ASK_AGAIN_MS);
        return isSubscribed;
      });
    },
    async look() {
      await pause(HELD_MS);
      looks += 1;
      const other = (index: number): Asked => ({
        client: `other-${looks}-${index}`,
        text: "/help",
        qos: 1,
      });
      await watched.askAll(OTHERS, other);
      return await gateway.look();
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
  return watched;
}

/** A gateway that one can look into, at once. */
export async function startWatched(
  config: object,
): Promise<AsyncDisposable & Pick<WatchedGateway, "look">> {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(await temporaryHome(config));
  const file = join(home.path, "inside.json");
  const preload = join(import.meta.dirname, "look-inside.ts");
  const env = { LOOK_INSIDE: file };
  const { pid } = stack.use(await startGateway({ home: home.path, preload, env }));
  const all = stack.move();
  return {
    async look() {
      rmSync(file, { force: true });
      process.kill(pid, "SIGUSR2");
      await until("the gateway has looked inside", () => existsSync(file));
      const inside: Inside = JSON.parse(readFileSync(file, "utf8"));
      return {
        ...named("objects of class", inside.objects),
        ...named("listeners of", inside.listeners),
        ...named("open", await openFiles(pid)),
        threads: (await readdir(`/proc/${pid}/task`)).length,
      };
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function named(what: string, counts: Counts): Counts {
  return Object.fromEntries(
    Object.entries(counts).map(([name, count]) => [`${what} ${name}`, count]),
  );
}

/** File descriptors by what they are: `socket`, `anon_inode:[eventpoll]`, the path of a file. */
async function openFiles(pid: number): Promise<Counts> {
  const folder = `/proc/${pid}/fd`;
  const counts: Record<string, number> = {};
  for (const name of await readdir(folder)) {
    // One may be closed meanwhile.
    const target = await readlink(join(folder, name)).catch(() => "nothing");
    const kind = target.replace(/:\[\d+\]$/, "");
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}
