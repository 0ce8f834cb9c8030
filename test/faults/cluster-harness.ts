import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { connectAsync } from "mqtt";
import { startMosquitto, type Mosquitto } from "../support/mosquitto.ts";
import { startPicoclaw, writeConfig, type Running } from "../support/picoclaw.ts";
import { startPostgres, type Postgres } from "../support/postgres.ts";
import { startProxy, type Proxy } from "../support/proxy.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { openDevices, type Devices } from "./devices.ts";
import { faultConfig, isSaved, PERSISTENT } from "./fault-harness.ts";
import { violations } from "./invariants.ts";
import { openKits, type Kit, type Kits } from "./kits.ts";
import { startRecordingModel, type RecordingModel } from "./model.ts";

/** A gateway of a cluster, in a home of its own. */
export interface Member {
  readonly name: string;
  /** Undefined while it does not run. */
  readonly running: () => Running | undefined;
  /** Starts it; resolves when it serves, or is dead before that. */
  start(): Promise<void>;
  kill(): Promise<void>;
  /** SIGTERM, and waits for its end. */
  stop(): Promise<void>;
  freeze(milliseconds: number): Promise<void>;
}

/** Several gateways, a broker behind a proxy, a database, a model whose tool leaves a trace, and devices. */
export interface ClusterHarness extends AsyncDisposable {
  readonly broker: Mosquitto;
  readonly proxy: Proxy;
  readonly model: RecordingModel;
  readonly devices: Devices;
  readonly kits: Kits;
  readonly members: readonly Member[];
  /** The server that is written to now. */
  database(): Postgres;
  /** kill -9 of the database, and a start after that time. */
  crashDatabase(milliseconds: number): Promise<void>;
  /** kill -9 of the primary; its synchronous replica takes over. False if there is none any more. */
  promoteReplica(): Promise<boolean>;
  /** kill -9 of the broker, and a new one; no gateway is connected then. */
  killBroker(): Promise<void>;
  /** Deaths of gateways. */
  readonly kills: readonly number[];
  /** The requests whose tool ran. */
  traces(): number;
  /** Waits until every request is acknowledged and answered; returns the broken promises. */
  outcome(withinMs?: number): Promise<string[]>;
}

export interface ClusterOptions {
  readonly gateways: number;
  readonly clients: readonly string[];
  readonly kits: readonly Kit[];
  readonly settings?: object;
}

export async function openClusterHarness(options: ClusterOptions): Promise<ClusterHarness> {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const broker = stack.use(await startMosquitto({ lines: PERSISTENT }));
  const proxy = stack.use(await startProxy(broker.port));
  let primary = stack.use(await startPostgres());
  let replica: Postgres | undefined = stack.use(await primary.startReplica());
  const hosts = `127.0.0.1:${primary.port},127.0.0.1:${replica.port}`;
  const store = `postgres://postgres@${hosts}/postgres?target_session_attrs=read-write`;
  const traces = stack.use(await startTraces(join(folder.path, "traces")));
  const model = stack.use(await startRecordingModel(traces.callFor));
  const { clients } = options;
  const devices = stack.use(
    await openDevices(`mqtt://127.0.0.1:${broker.port}`, { clients, mayBeRejected: false }),
  );
  const kits = stack.use(await openKits(broker.port, options.kits));
  const kills: number[] = [];
  const stops: number[] = [];
  const processes: Running[] = [];
  const freezes: { from: number; to: number }[] = [];
  const openMember = async (name: string): Promise<Member> => {
    const home = join(folder.path, name);
    const config = faultConfig({
      proxy,
      model,
      workspace: join(home, "workspace"),
      settings: options.settings,
      more: {
        gateway: { name, store },
        tools: { web: { private_host_whitelist: ["127.0.0.1"] } },
      },
    });
    await writeConfig(home, config);
    let running: Running | undefined;
    stack.defer(async () => running?.[Symbol.asyncDispose]());
    return {
      name,
      running: () => running,
      async start() {
        const started = startPicoclaw(["gateway", "--drain", "0s"], { home });
        running = started;
        processes.push(started);
        let isOver = false;
        void started.ended.then(({ signal }) => {
          isOver = true;
          if (signal === "SIGKILL") kills.push(performance.now());
        });
        await until(`${name} serves: ${started.stderr()}`, () => {
          return isOver || started.stderr().includes('"msg":"gateway started"');
        });
      },
      async kill() {
        running?.kill("SIGKILL");
        await running?.ended;
      },
      async stop() {
        stops.push(performance.now());
        running?.kill("SIGTERM");
        let isOver = false;
        void running?.ended.then(() => (isOver = true));
        await until(`${name} ends: ${running?.stderr().slice(-1000)}`, () => isOver, 30_000);
        // A turn may have started before the signal arrived.
        stops.push(performance.now());
      },
      async freeze(milliseconds) {
        const from = performance.now();
        running?.kill("SIGSTOP");
        // Others take over what it held.
        kills.push(from);
        await pause(milliseconds);
        running?.kill("SIGCONT");
        freezes.push({ from, to: performance.now() });
      },
    };
  };
  const members: Member[] = [];
  for (let index = 1; index <= options.gateways; index += 1)
    members.push(await openMember(`gateway-${index}`));
  for (const member of members) await member.start();

  return {
    broker,
    proxy,
    model,
    devices,
    kits,
    members,
    kills,
    traces: () => traces.count(),
    database: () => primary,
    async crashDatabase(milliseconds) {
      stops.push(performance.now());
      await primary.crash();
      await pause(milliseconds);
      await primary.start();
      stops.push(performance.now());
    },
    async promoteReplica() {
      if (replica === undefined) return false;
      stops.push(performance.now());
      await primary.crash();
      await replica.promote();
      [primary, replica] = [replica, undefined];
      stops.push(performance.now());
      return true;
    },
    async killBroker() {
      proxy.blackhole(true);
      await saved(broker);
      await broker.kill("SIGKILL");
      proxy.blackhole(false);
      proxy.reset();
      await broker.start();
    },
    async outcome(withinMs = 90_000) {
      const isQuiet = (): boolean => devices.unacknowledged() === 0 && devices.open().length === 0;
      await until("everything is answered", isQuiet, withinMs).catch(() => {});
      const { absences } = devices;
      const asked = [...devices.asked, ...kits.asked];
      const heard = [...devices.heard, ...kits.heard];
      const history = { turns: model.turns, kills, stops, freezes, asked, heard, absences };
      const unanswered = devices.asked.filter(({ isAcknowledged }) => !isAcknowledged);
      saveLogs([...processes.map(({ stderr }) => stderr()), broker.log()]);
      return [
        ...unanswered.map(({ client, id }) => `${client} ${id}: never acknowledged`),
        ...violations(history),
        ...kits.broken,
        ...traces.twice().map((name) => `${name}: its tool ran twice`),
        ...members.flatMap(bugsIn),
      ];
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Writes the logs of all processes of a run into the folder that PICOCLAW_CHAOS_LOGS names, to look at them later. */
function saveLogs(logs: readonly string[]): void {
  const folder = process.env["PICOCLAW_CHAOS_LOGS"];
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  for (const [index, log] of logs.entries()) writeFileSync(join(folder, `${index}.log`), log);
}

/** Lines of its log about faults of the program itself. */
function bugsIn({ name, running }: Member): string[] {
  const lines = (running()?.stderr() ?? "").split("\n");
  return lines
    .filter((line) => line.includes("something went wrong inside picoclaw"))
    .map((line) => `${name}: ${line.slice(0, 300)}`);
}

/** Changes something until mosquitto has saved all that it acknowledged: it does so after each second change. */
async function saved(broker: Mosquitto): Promise<void> {
  const client = await connectAsync(broker.url);
  await until("mosquitto has saved all that it acknowledged", async () => {
    await client.publishAsync("saved", "now", { qos: 1, retain: true });
    await pause(20);
    return isSaved(broker.log());
  });
  await client.endAsync(true);
}

interface Traces extends AsyncDisposable {
  /** The call of a tool that leaves a trace of this request. */
  readonly callFor: (name: string) => { readonly name: string; readonly arguments: string };
  /** How many requests left one. */
  count(): number;
  /** The requests that left more than one. */
  twice(): string[];
}

/** A server that writes down each request that it gets, before it answers. */
async function startTraces(file: string): Promise<Traces> {
  const server = createServer((request, response) => {
    appendFileSync(file, `${decodeURIComponent(request.url ?? "").slice(1)}\n`);
    response.end("Noted.");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" ? (address?.port ?? 0) : 0;
  const traces = (): Map<string, string[]> => {
    const names = readFileSync(file, { encoding: "utf8", flag: "a+" }).split("\n").slice(0, -1);
    return Map.groupBy(names, (name) => name);
  };
  return {
    callFor(name) {
      const url = `http://127.0.0.1:${port}/${encodeURIComponent(name)}`;
      return { name: "web_fetch", arguments: JSON.stringify({ url }) };
    },
    count: () => traces().size,
    twice: () => [...traces()].flatMap(([name, all]) => (all.length > 1 ? [name] : [])),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
