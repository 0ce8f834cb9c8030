import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { serveText } from "../../src/base/local-socket.ts";
import { SILENT } from "../../src/base/log.ts";
import type { GatewayStatus } from "../../src/gateway/statistics/contract.ts";
import { openInstance } from "../../src/store/home/instance-lock.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { runIn } from "./host.ts";

const LIMITS = {
  requests_per_minute: 0,
  burst: 0,
  queued: 0,
  tokens_per_day: 100_000,
  cost_per_day: 5,
  tool_calls_per_turn: 0,
};

const READY: GatewayStatus = {
  v: 1,
  type: "status",
  state: "ready",
  version: "1.2.3",
  pid: 4711,
  instance: "0123456789ab",
  since: "2026-11-30T08:00:00.000Z",
  uptime_s: 7500,
  channels: [
    {
      name: "mqtt",
      agent_id: "assistant",
      topic_prefix: "/picoclaw",
      broker: ["tcp://localhost:1883"],
      qos: 1,
      connected: true,
      sessions_lost: 0,
      messages_dropped: 0,
      other_gateways: 0,
    },
  ],
  agent: { model: "gpt", provider: "openai" },
  queue: { running: 1, slots: 16, waiting: 2, in_flight: 3 },
  memory: { resident_bytes: 60 * 2 ** 20, heap_bytes: 0 },
  usage: {
    gateway: { requests: 12, tokens: 3400, cost: 0.12, rejected: {}, limits: LIMITS },
    channels: [],
  },
  clients: [],
  requests: [
    {
      channel: "mqtt",
      outcomes: { ok: 11, model: 1 },
      duration_seconds: { bounds: [], counts: [12], sum: 1 },
      first_part_seconds: { bounds: [], counts: [12], sum: 1 },
    },
  ],
  models: [],
  tools: [],
  store: { commit_seconds: { bounds: [], counts: [0], sum: 0 } },
  minutes: [],
  recent: [
    {
      number: 12,
      at: "2026-11-30T10:00:00.000Z",
      channel: "mqtt",
      client: "kitchen\u001b[2J",
      outcome: "ok",
      ms: 1200,
      tools: [{ name: "device", verdict: "ok", ms: 3 }],
    },
  ],
};

const AWAY: GatewayStatus = {
  ...READY,
  state: "not_ready",
  reason: "mqtt: the broker cannot be reached",
  instance: "ba9876543210",
};

/** A home in which gateways say this. */
async function homeOf(...statuses: readonly unknown[]) {
  const folder = await temporaryFolder();
  const open: { readonly close: () => unknown }[] = [];
  for (const status of statuses) {
    const state = await openInstance(join(folder.path, "workspace", "state"), { log: SILENT });
    open.push(state, await serveText(state.socketFile, async () => JSON.stringify(status)));
  }
  return {
    path: folder.path,
    run: (...args: readonly string[]) => runIn(folder.path, ["status", ...args]),
    async [Symbol.asyncDispose]() {
      for (const each of open) await each.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

describe("picoclaw status", () => {
  it("says how the running gateway is", async () => {
    await using home = await homeOf(READY);
    const { code, stdout, stderr } = await home.run();
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^picoclaw 1\.2\.3 \(pid 4711, instance 0123456789ab\): ready\n/);
    assert.match(stdout, /since .*, for 2 h 5 min\n/);
    assert.match(stdout, /mqtt: agent assistant on tcp:\/\/localhost:1883, connected\n/);
    assert.match(stdout, /agent +gpt \(openai\)\n/);
    assert.match(stdout, /1 of 16 turns running, 2 waiting\n/);
    assert.match(stdout, /11 ok, 1 model\n/);
    assert.match(stdout, /12 requests, 3400 of 100000 tokens, cost 0\.12 of 5\n/);
    assert.match(stdout, /last +kitchen.*: ok in 1\.2s, tools: device\n/);
    assert.match(stdout, /60 MiB\n$/);
    assert.ok(!stdout.includes("\u001b"), "control characters of a client are visible");
  });

  it("ends with 4 if a gateway is not connected, and lists all of the home", async () => {
    await using home = await homeOf(READY, AWAY);
    const { code, stdout } = await home.run();
    assert.equal(code, 4);
    assert.match(stdout, /instance 0123456789ab\): ready\n[^]*\n\n?picoclaw/);
    assert.match(
      stdout,
      /instance ba9876543210\): not ready: mqtt: the broker cannot be reached\n/,
    );
    const json = await home.run("--json");
    assert.equal(json.code, 4);
    const lines = json.stdout.trim().split("\n");
    assert.deepEqual(
      lines.map((line) => JSON.parse(line)),
      [READY, AWAY],
    );
  });

  it("ends with 3 if none runs, also where one ran before", async () => {
    await using folder = await temporaryFolder();
    const state = await openInstance(join(folder.path, "workspace", "state"), { log: SILENT });
    state.close();
    const { code, stdout, stderr } = await runIn(folder.path, ["s"]);
    assert.deepEqual([code, stdout], [3, "no gateway of this home is running\n"]);
    assert.match(stderr, /^try: picoclaw onboard/m);
    const settings = { broker: "tcp://localhost:1883", agent_id: "assistant" };
    const config = { channel_list: { mqtt: { enabled: true, settings } } };
    await writeFile(join(folder.path, "config.json"), JSON.stringify(config));
    const configured = await runIn(folder.path, ["status"]);
    assert.match(configured.stderr, /^try: picoclaw gateway .*picoclaw service install/m);
    await using empty = await homeOf();
    assert.deepEqual(await empty.run("--json"), { code: 3, stdout: "", stderr: "" });
  });

  it("tells a probe with one line and 0 or 1", async () => {
    await using ready = await homeOf(READY);
    assert.deepEqual(await ready.run("--ready"), { code: 0, stdout: "ready\n", stderr: "" });
    await using away = await homeOf(AWAY);
    const stdout = "not ready: mqtt: the broker cannot be reached\n";
    assert.deepEqual(await away.run("--ready"), { code: 1, stdout, stderr: "" });
    await using none = await homeOf();
    assert.deepEqual(await none.run("--ready"), { code: 1, stdout: "not running\n", stderr: "" });
  });

  it("asks the gateway of another configuration with --config", async () => {
    await using home = await homeOf(READY);
    await using folder = await temporaryFolder();
    const file = join(folder.path, "other.json");
    const workspace = join(folder.path, "elsewhere");
    await writeFile(file, JSON.stringify({ agents: { defaults: { workspace } } }));
    assert.equal((await home.run("--config", file)).code, 3);
    assert.equal((await home.run()).code, 0);
  });

  it("asks also beside a wrong configuration, and warns of it", async () => {
    await using home = await homeOf(READY);
    const config = { gateway: { store: "postgres://", port: "x" } };
    for (const text of ["{", JSON.stringify(config)]) {
      await writeFile(join(home.path, "config.json"), text);
      const { code, stdout, stderr } = await home.run("--ready");
      assert.deepEqual([code, stdout], [0, "ready\n"]);
      assert.match(
        stderr,
        /the configuration is wrong; the state is looked for in .*workspace\/state/,
      );
    }
  });

  it("takes nothing for a status that is none", async () => {
    await using home = await homeOf({ v: 1, type: "other" }, "x");
    assert.equal((await home.run()).code, 3);
  });
});
