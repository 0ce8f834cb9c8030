import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Failpoint } from "../../src/base/failpoint.ts";
import { startMosquitto, type Mosquitto } from "../support/mosquitto.ts";
import {
  NO_LIMITS,
  quickConfig,
  startPicoclaw,
  writeConfig,
  type Running,
} from "../support/picoclaw.ts";
import { startProxy, type Proxy } from "../support/proxy.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { openDevices, type Devices } from "./devices.ts";
import { violations } from "./invariants.ts";
import { openKits, type Kit, type Kits } from "./kits.ts";
import { startRecordingModel, type RecordingModel } from "./model.ts";

/** For `it`: these tests need the binary with failpoints. */
export const withFaults = { skip: process.env["PICOCLAW_UNDER_TEST"] !== "faults" };

/** The failpoints, without those that need a tool call. */
export const POINTS: readonly Failpoint[] = [
  "received",
  "accepted",
  "acknowledged",
  "begun",
  "streaming",
  "turned",
  "answered",
  "published",
  "delivered",
];

export interface FaultHarnessOptions {
  readonly clients: readonly string[];
  readonly kits?: readonly Kit[];
  readonly settings?: object;
  readonly defaults?: object;
  /** The workspace; a new folder when left out. */
  readonly workspace?: string;
  /** Whether limits reject requests, which ends them; otherwise each must be answered. */
  readonly mayBeRejected?: boolean;
}

/** A persistent broker behind a proxy, a model, a gateway with its own home, and devices. */
export interface FaultHarness extends AsyncDisposable {
  readonly broker: Mosquitto;
  readonly proxy: Proxy;
  readonly model: RecordingModel;
  readonly devices: Devices;
  readonly kits: Kits;
  readonly home: string;
  readonly kills: number[];
  readonly stops: number[];
  /** The gateway that was started last. */
  gateway(): Running;
  /** Starts a gateway that dies at the failpoint. Resolves when it is subscribed, or dead before that. */
  start(failAt?: string): Promise<Running>;
  /** Environment variables of each started gateway. */
  readonly env: Record<string, string>;
  /** kill -9 of the gateway. */
  kill(): Promise<void>;
  /** SIGSTOP, and SIGCONT after that time. */
  freeze(milliseconds: number): Promise<void>;
  /**
   * kill -9 of the broker, and a new one. mosquitto acknowledges a message a moment before it saves it, and
   * loses it if killed between. So the gateway is disconnected before; the caller must see that no device
   * publishes meanwhile.
   */
  killBroker(): Promise<void>;
  /** Waits until every request is acknowledged and answered; returns the broken promises. */
  outcome(withinMs?: number): Promise<string[]>;
}

/** Lines of a broker that loses nothing which it has saved. */
export const PERSISTENT = [
  "listener {port} 127.0.0.1",
  "allow_anonymous true",
  "persistence true",
  "persistence_location {folder}/",
  "autosave_on_changes true",
  "autosave_interval 1",
  "max_queued_messages 20000",
];

export async function openFaultHarness(options: FaultHarnessOptions): Promise<FaultHarness> {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const broker = stack.use(await startMosquitto({ lines: PERSISTENT }));
  const proxy = stack.use(await startProxy(broker.port));
  const model = stack.use(await startRecordingModel());
  const { clients, mayBeRejected = false } = options;
  const devices = stack.use(
    await openDevices(`mqtt://127.0.0.1:${broker.port}`, { clients, mayBeRejected }),
  );
  const kits = stack.use(await openKits(broker.port, options.kits ?? []));
  const kills: number[] = [];
  const stops: number[] = [];
  const freezes: { from: number; to: number }[] = [];
  const env: Record<string, string> = {};
  let gateway: Running | undefined;
  stack.defer(async () => gateway?.[Symbol.asyncDispose]());
  const { workspace = join(folder.path, "workspace"), settings, defaults } = options;
  const config = faultConfig({ proxy, model, workspace, settings, defaults });
  await writeConfig(folder.path, config);
  const running = (): Running => gateway ?? fail();

  return {
    broker,
    proxy,
    model,
    devices,
    kits,
    home: folder.path,
    kills,
    stops,
    env,
    gateway: running,
    async start(failAt) {
      const all = failAt === undefined ? env : { ...env, PICOCLAW_FAIL_AT: failAt };
      const started = startPicoclaw(["gateway", "--drain", "0s"], { home: folder.path, env: all });
      gateway = started;
      let isOver = false;
      void started.ended.then(({ signal }) => {
        isOver = true;
        if (signal === "SIGKILL") kills.push(performance.now());
      });
      await until(`the gateway is subscribed: ${started.stderr()}`, () => {
        return isOver || started.stderr().includes('"msg":"connected"');
      });
      return started;
    },
    async kill() {
      running().kill("SIGKILL");
      await running().ended;
    },
    async freeze(milliseconds) {
      const from = performance.now();
      running().kill("SIGSTOP");
      await pause(milliseconds);
      running().kill("SIGCONT");
      freezes.push({ from, to: performance.now() });
    },
    async killBroker() {
      proxy.blackhole(true);
      await until("mosquitto has saved all that it acknowledged", () => isSaved(broker.log()));
      await broker.kill("SIGKILL");
      proxy.blackhole(false);
      proxy.reset();
      await broker.start();
    },
    async outcome(withinMs = 60_000) {
      const isQuiet = (): boolean => devices.unacknowledged() === 0 && devices.open().length === 0;
      await until("everything is answered", isQuiet, withinMs).catch(() => {});
      if (mayBeRejected) await calm(devices);
      const { absences } = devices;
      const asked = [...devices.asked, ...kits.asked];
      const heard = [...devices.heard, ...kits.heard];
      const history = { turns: model.turns, kills, stops, freezes };
      const unanswered = devices.asked.filter(({ isAcknowledged }) => !isAcknowledged);
      return [
        ...unanswered.map(({ client, id }) => `${client} ${id}: never acknowledged`),
        ...violations(Object.assign(history, { asked, heard, absences, mayBeRejected })),
        ...kits.broken,
      ];
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const CALM_MS = 1500;

/** Waits until no more parts arrive: a rejected request may still be answered. */
async function calm({ heard }: Devices): Promise<void> {
  let before = -1;
  while (heard.length !== before) {
    before = heard.length;
    await pause(CALM_MS);
  }
}

/** Everything that must persist came before its last save. */
export function isSaved(log: string): boolean {
  return !/Received PUBLISH/.test(log.slice(log.lastIndexOf("Saving in-memory database")));
}

function fail(): never {
  throw new Error("no gateway was started");
}

interface ConfigFacts {
  readonly proxy: Proxy;
  readonly model: RecordingModel;
  readonly workspace: string;
  readonly settings?: object | undefined;
  readonly defaults?: object | undefined;
  /** Further sections. */
  readonly more?: object;
}

/** Of a gateway under faults: with the recording model, behind the proxy. */
export function faultConfig(facts: ConfigFacts): object {
  const { proxy, model, workspace, settings, defaults, more } = facts;
  const entry = {
    model_name: "m",
    provider: "openai",
    model: "m-1",
    api_base: model.server.base,
    api_key: "sk-fault",
  };
  return quickConfig(
    proxy.url,
    {
      qos: 1,
      keep_alive: 2,
      limits: NO_LIMITS,
      streaming: { enabled: true, interval_ms: 20 },
      ...settings,
    },
    {
      agents: { defaults: { workspace, model_name: "m", ...defaults } },
      model_list: [entry],
      ...more,
    },
  );
}
