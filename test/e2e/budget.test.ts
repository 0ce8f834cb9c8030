import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { ASSISTANT, askAll, connectDevice } from "../support/bare-device.ts";
import { answers, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, polite } from "../support/packets.ts";
import {
  modelConfig,
  onceInCi,
  quickConfig,
  startGateway,
  temporaryHome,
} from "../support/picoclaw.ts";
import { memoryOf, writtenBy } from "../support/proc.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

/**
 * What the program may cost, in figures that a busy machine does not change. `PICOCLAW_BUDGET=write` records
 * what is measured now.
 */
const root = join(import.meta.dirname, "../..");
const file = join(import.meta.dirname, "budget.json");
const tracer = join(import.meta.dirname, "../support/trace-modules.ts");
const recorded: Readonly<Record<string, number>> = JSON.parse(readFileSync(file, "utf8"));
const isRecording = process.env["PICOCLAW_BUDGET"] === "write";

/** The share by which a figure may exceed the recorded one. */
const EXACT = 0.02;
const ROUGH = 0.1;

describe("the budget", { skip: needsMosquitto.skip || onceInCi.skip }, () => {
  it("of the code that a command loads", async () => {
    await using folder = await temporaryFolder();
    const entry = bundle(folder.path);
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    const load = (args: readonly string[]): Promise<Loaded> =>
      loadedBy(entry, args, join(folder.path, `${args[0]}.txt`), home.path);
    await using gateway = await startGateway({ home: home.path });
    const loads = {
      "--version": await load(["--version"]),
      send: await load(["send", "device1", "/help"]),
      listen: await load(["listen", "--for", "1s"]),
    };
    await gateway[Symbol.asyncDispose]();
    const started = await loadedBySubscription(entry, join(folder.path, "gateway.txt"));
    for (const [name, { chunks, bytes }] of Object.entries({ ...loads, gateway: started })) {
      check(`chunks that ${name} loads`, chunks, 0);
      check(`bytes of code that ${name} loads`, bytes, EXACT);
    }
  });

  it("of the functions that a warm request enters", () => {
    const { stdout } = spawnSync("npm", ["run", "--silent", "walk"], {
      cwd: root,
      encoding: "utf8",
    });
    const [, files, functions] = /(\d+) files, (\d+) functions\n.*generators/.exec(stdout) ?? [];
    check("files that a request enters", Number(files), EXACT);
    check("functions that a request enters", Number(functions), EXACT);
  });

  it("of memory and of the disk", async () => {
    const lines = ["listener {port} 127.0.0.1", "allow_anonymous true", "set_tcp_nodelay true"];
    await using broker = await startMosquitto({ lines });
    await using model = await startModelServer();
    model.otherwise(answers("It is late."));
    await using home = await temporaryHome(modelConfig(broker.url, model.base));
    await using gateway = await startGateway({ home: home.path });
    using device = await connectDevice(ASSISTANT, { port: broker.port, qos: 1, version: 4 });
    check("MB of private memory, idle", await privateOf(gateway.pid), ROUGH);
    const before = await writtenBy(gateway.pid);
    // One after the other: requests that come together share their transactions.
    await askAll(device, ONE_BY_ONE, 1);
    const written = (await writtenBy(gateway.pid)) - before;
    check("KB written a request", written / ONE_BY_ONE, ROUGH);
    await askAll(device, REQUESTS, 8);
    check(`MB of private memory after ${REQUESTS} requests`, await privateOf(gateway.pid), ROUGH);
    const { peak } = await memoryOf(gateway.pid);
    check(`MB of resident memory at most in ${REQUESTS} requests`, peak, ROUGH);
    check("MB of private memory a while later", await givenBackBy(gateway.pid), ROUGH);
  });
});

/** MQTT 3.1.1 section 2.2.1. */
const SUBSCRIBE = 8;
const ONE_BY_ONE = 200;
const REQUESTS = 1000;

interface Loaded {
  readonly chunks: number;
  readonly bytes: number;
}

function bundle(folder: string): string {
  const args = [join(root, "scripts/build.ts"), "--files", folder];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return join(folder, "main.js");
}

/** Runs the bundle to its end. */
async function loadedBy(
  entry: string,
  args: readonly string[],
  trace: string,
  home: string,
): Promise<Loaded> {
  const child = startTraced(entry, args, trace, home);
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  assert.equal(code, 0, args.join(" "));
  return loadedIn(trace);
}

/** What a gateway has loaded when it subscribes. */
async function loadedBySubscription(entry: string, trace: string): Promise<Loaded> {
  let loaded: Loaded | undefined;
  await using broker = await fakeBroker((packet, socket) => {
    if (packet.type === SUBSCRIBE) loaded ??= loadedIn(trace);
    polite(packet, socket);
  });
  const settings = { protocol_version: 4 };
  await using home = await temporaryHome(quickConfig(broker.url, settings));
  const child = startTraced(entry, ["gateway"], trace, home.path);
  const ended = new Promise((resolve) => child.on("close", resolve));
  await until("the gateway subscribes", () => loaded !== undefined);
  child.kill("SIGKILL");
  await ended;
  return loaded ?? { chunks: 0, bytes: 0 };
}

function startTraced(
  entry: string,
  args: readonly string[],
  trace: string,
  home: string,
): ChildProcess {
  return spawn(process.execPath, ["--preload", tracer, entry, ...args], {
    env: { ...process.env, PICOCLAW_HOME: home, PICOCLAW_GATEWAY_PORT: "0", TRACE_MODULES: trace },
    stdio: "ignore",
  });
}

function loadedIn(trace: string): Loaded {
  const lines = readFileSync(trace, "utf8").trim().split("\n");
  const bytes = lines.reduce((sum, line) => sum + Number(line.split(" ")[0]), 0);
  return { chunks: lines.length, bytes };
}

/**
 * What the process has written: how much of its file is resident depends on how that came into the page cache. The
 * lowest of a second: what a collection is about to give back does not count.
 */
async function privateOf(pid: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  const end = performance.now() + 1000;
  await until("a second is over", async () => {
    least = Math.min(least, (await memoryOf(pid)).dirty);
    return performance.now() > end;
  });
  return least;
}

const measured: Record<string, number> = {};

function check(name: string, value: number, tolerance: number): void {
  assert.ok(Number.isFinite(value), `${name}: ${value}`);
  if (isRecording) {
    measured[name] = Math.ceil(value);
    writeFileSync(file, `${JSON.stringify({ ...recorded, ...measured }, null, 2)}\n`);
    return;
  }
  const most = recorded[name];
  assert.ok(most !== undefined, `${name} is not recorded: PICOCLAW_BUDGET=write records it`);
  assert.ok(
    value <= most * (1 + tolerance),
    `${name} grew from ${most} to ${value.toFixed(1)}: make it smaller, or record it with a reason`,
  );
}

/** Waits for a minute, or until a process has given back what it grew by, some 10 s after its last work. */
async function givenBackBy(pid: number): Promise<number> {
  const busy = (await memoryOf(pid)).dirty;
  let dirty = busy;
  await until(
    "memory is given back",
    async () => {
      ({ dirty } = await memoryOf(pid));
      return dirty < busy - 5;
    },
    60_000,
  );
  return dirty;
}
