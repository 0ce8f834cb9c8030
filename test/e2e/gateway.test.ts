import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { it } from "node:test";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startClient,
  startGateway,
  startPicoclaw,
  writeConfig,
  type Running,
  temporaryHome,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

/** mosquitto's acl_file cannot refuse a subscription; its plugin can. */
const DYNAMIC_SECURITY = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so";
const STATUS = "/picoclaw/assistant/status";

const channel = (broker: string, agent_id: string) => ({
  enabled: true,
  type: "mqtt",
  settings: { broker, agent_id },
});

async function readiness(gateway: Running): Promise<{ status: number; body: string }> {
  await gateway.said('"health":"');
  const address = /"health":"(http:[^ "]+)/.exec(gateway.stderr())?.[1] ?? "";
  const response = await fetch(`${address}/ready`);
  return { status: response.status, body: await response.text() };
}

it("ends with 1 where the built-in broker's port is taken, and says how to go on", async () => {
  await using other = createServer();
  const port = await freePort();
  await new Promise<void>((resolve) => other.listen(port, "127.0.0.1", resolve));
  await using home = await temporaryHome(quickConfig(`embedded://127.0.0.1:${port}`));
  await using gateway = startPicoclaw(["gateway"], { home: home.path });
  const { code, stderr } = await gateway.ended;
  assert.equal(code, 1);
  assert.match(
    stderr,
    /cannot listen on 127\.0\.0\.1:\d+[^]*try: stop the program that listens there/,
  );
});

it("waits for a broker that is down at start, and tells it on /ready", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await broker.kill();
  await using home = await temporaryHome(quickConfig(broker.url));
  await using gateway = startPicoclaw(["gateway"], { home: home.path });
  await gateway.said("again_in_s");
  const before = await readiness(gateway);
  assert.equal(before.status, 503);
  assert.match(before.body, /mqtt: /);
  assert.ok(!gateway.stderr().includes("gateway started"), gateway.stderr());
  await broker.start();
  await gateway.said('"msg":"gateway started"');
  assert.equal((await readiness(gateway)).status, 200);
});

it(
  "is ready again within 8 s of a broker's kill -9 and return, under the same client id",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    await using gateway = await startGateway({ home: home.path });
    await broker.kill();
    await gateway.said("again_in_s");
    const begun = performance.now();
    await broker.start();
    await until("connected twice", () => gateway.stderr().split('"msg":"connected"').length === 3);
    const took = performance.now() - begun;
    assert.ok(took < 8_000, `it took ${took} ms`);
    const ids = new Set(broker.log().match(/picoclaw-mqtt-assistant-[0-9a-f]{8}/g));
    assert.equal(ids.size, 1);
    const sent = await picoclaw(["send", "device1", "uptime"], { home: home.path });
    assert.equal(sent.code, 0, sent.stderr);
  },
);

it(
  "says online, offline when it ends, and its will says so when it is killed",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    await using watcher = startClient("mosquitto_sub", ["-p", String(broker.port), "-t", STATUS]);
    await until("subscribed", () => broker.log().includes(`${STATUS} (QoS 0)`));
    await using first = await startGateway({ home: home.path });
    await until("online", () => watcher.stdout() === "online\n");
    first.kill("SIGTERM");
    assert.equal((await first.ended).code, 0);
    await until("offline", () => watcher.stdout() === "online\noffline\n");
    await using second = await startGateway({ home: home.path });
    await until("online again", () => watcher.stdout() === "online\noffline\nonline\n");
    second.kill("SIGKILL");
    await until("the will", () => watcher.stdout() === "online\noffline\nonline\noffline\n");
  },
);

it(
  "ends with 5 and the reason when the broker refuses its credentials",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto({
      lines: ["listener {port} 127.0.0.1", "allow_anonymous false"],
    });
    await using home = await temporaryFolder();
    await writeConfig(
      home.path,
      quickConfig(broker.url, { username: "ann", password: "hunter2hunter2" }),
    );
    await using gateway = startPicoclaw(["gateway"], { home: home.path });
    const { code, stderr } = await gateway.ended;
    assert.equal(code, 5, stderr);
    assert.match(stderr, /not authorized|bad user name or password/);
    assert.ok(!stderr.includes("hunter2"), "the password is in no output");
    const checked = await picoclaw(["gateway", "--check"], { home: home.path });
    assert.equal(checked.code, 5);
  },
);

it("ends with 5 when the broker refuses its subscription", needsMosquitto, async () => {
  await using broker = await startMosquitto({
    lines: [
      "listener {port} 127.0.0.1",
      "allow_anonymous true",
      `plugin ${DYNAMIC_SECURITY}`,
      "plugin_opt_config_file {folder}/rights.json",
    ],
    files: {
      "rights.json": JSON.stringify({
        defaultACLAccess: { publishClientSend: true, publishClientReceive: true, subscribe: false },
        groups: [{ groupname: "anyone", roles: [] }],
        anonymousGroup: "anyone",
      }),
    },
  });
  await using home = await temporaryHome(quickConfig(broker.url));
  await using gateway = startPicoclaw(["gateway"], { home: home.path });
  const { code, stderr } = await gateway.ended;
  assert.equal(code, 5, stderr);
  assert.match(stderr, /refused the subscription/);
});

it(
  "--check connects, subscribes, prints a line a channel and does not say online",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    const good = await picoclaw(["gateway", "--check"], { home: home.path });
    assert.equal(good.code, 0, good.stderr);
    assert.match(
      good.stdout,
      /^ok +broker\.connect +mqtt: connected to tcp:\/\/127\.0\.0\.1:\d+ \(MQTT 5\)\n.+ subscribed to \/picoclaw\/assistant\/\+\/request, and a request came through it$/m,
    );
    assert.match(
      good.stdout,
      /^(?:(?:ok|warn|skip) +[a-z_.]+ +.+: .+\n)+0 of \d+ checks failed, \d+ warnings?\n$/,
    );
    assert.ok(!broker.log().includes(`'${STATUS}'`), "the status topic was not touched");
    await broker.kill();
    const bad = await picoclaw(["gateway", "--check"], { home: home.path });
    assert.equal(bad.code, 4, bad.stderr);
  },
);

it(
  "a list of brokers serves, asks, listens and is checked with one of two down; with none it ends with 4",
  { ...needsMosquitto, timeout: 60_000 },
  async () => {
    await using a = await startMosquitto();
    await using b = await startMosquitto();
    await using home = await temporaryHome({});
    const env = {
      PICOCLAW_CHANNELS_MQTT_BROKER: `${a.url},${b.url}`,
      PICOCLAW_CHANNELS_MQTT_AGENT_ID: "assistant",
    };
    const options = { home: home.path, env };
    await using gateway = await startGateway(options);
    assert.ok(gateway.stderr().includes(`"broker":"${a.url}"`), gateway.stderr());
    await a.kill();
    await gateway.said(`"msg":"connected","channel":"mqtt","broker":"${b.url}"`);
    const sent = await picoclaw(["send", "device1", "uptime"], options);
    assert.equal(sent.code, 0, sent.stderr);
    const flag = ["--broker", `${a.url},${b.url}`, "--agent", "assistant"];
    const heard = await picoclaw(["listen", "--for", "100ms", ...flag], { home: home.path });
    assert.equal(heard.code, 0, heard.stderr);
    assert.ok(heard.stderr.includes(`note: connected to ${b.url}; press Ctrl-C to end\n`));
    const checked = await picoclaw(["gateway", "--check"], options);
    assert.equal(checked.code, 0, checked.stderr);
    assert.ok(/^warn +broker\.tcp +mqtt: .+: nothing listens on port/m.test(checked.stdout));
    assert.ok(checked.stdout.includes(`mqtt: connected to ${b.url} (MQTT 5)`));
    await b.kill();
    const none = await picoclaw(["send", "device1", "uptime"], options);
    assert.equal(none.code, 4);
    const lines = none.stderr.trimEnd().split("\n");
    assert.match(lines[0] ?? "", /none of the 2 brokers can be used/);
    assert.ok(lines.length <= 4 && none.stderr.includes(a.url) && none.stderr.includes(b.url));
    assert.equal((await picoclaw(["gateway", "--check"], options)).code, 4);
  },
);

it("a start tells that the broker has forgotten its session", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url, { qos: 1 }));
  for (const isForgotten of [false, false, true]) {
    if (isForgotten) {
      await broker.kill();
      await broker.start();
    }
    await using gateway = await startGateway({ home: home.path });
    await gateway.said('"msg":"gateway started"');
    const { stdout } = await picoclaw(["send", "device1", "/status"], { home: home.path });
    assert.equal(stdout.includes("mqtt: the broker lost our session"), isForgotten, stdout);
    gateway.kill("SIGTERM");
    const { code, stderr } = await gateway.ended;
    assert.equal(code, 0, stderr);
    assert.equal(stderr.includes("did not keep our session"), isForgotten, stderr);
  }
});

it("--check and /status tell how long the prompt is, and why", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  const model_list = [{ model_name: "m", model: "ollama/m" }];
  const defaults = { context_window: 4096 };
  const more = { version: 3, agents: { defaults }, model_list };
  await using home = await temporaryHome(quickConfig(broker.url, {}, more));
  const checked = await picoclaw(["gateway", "--check"], { home: home.path });
  const why = "short, with few tools (window of 4096 tokens, configured)";
  assert.ok(checked.stdout.includes(`prompt: ${why}\n`), checked.stdout + checked.stderr);
  const status = await picoclaw(["agent", "-m", "/status"], { home: home.path });
  assert.ok(status.stdout.includes(`Prompt: ${why}\n`), status.stdout + status.stderr);
});

it(
  "--check warns of a broker that allows less than the configured QoS",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto({
      lines: ["listener {port} 127.0.0.1", "allow_anonymous true", "max_qos 1"],
    });
    await using home = await temporaryHome(quickConfig(broker.url, { qos: 2 }));
    const { code, stdout, stderr } = await picoclaw(["gateway", "--check"], { home: home.path });
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^warn +broker\.connect +mqtt: connected .*, which allows QoS 1 at most/m);
  },
);

it("a wrong configuration ends with 78 and names file, line and key", async () => {
  await using home = await temporaryHome(quickConfig("gopher://x", { qos: 7 }));
  const { code, stderr, stdout } = await picoclaw(["gateway"], { home: home.path });
  assert.equal(code, 78);
  assert.equal(stdout, "");
  assert.match(stderr, /config\.json:\d+/);
  assert.match(stderr, /qos/);
  assert.match(stderr, /broker/);
});

it("serves two channels on two brokers side by side", needsMosquitto, async () => {
  await using left = await startMosquitto();
  await using right = await startMosquitto();
  await using home = await temporaryHome({
    channel_list: { mqtt: channel(left.url, "one"), garden: channel(right.url, "two") },
  });
  await using gateway = await startGateway({ home: home.path });
  await until("both connected", () => gateway.stderr().split('"msg":"connected"').length === 3);
  for (const [broker, agent] of [
    [left.url, "one"],
    [right.url, "two"],
  ] as const) {
    const sent = await picoclaw(["send", "--broker", broker, "--agent", agent, "d", "uptime"], {
      home: home.path,
    });
    assert.equal(sent.code, 0, sent.stderr);
  }
  await right.kill();
  await until("not ready", async () => (await readiness(gateway)).status === 503);
  const sent = await picoclaw(["send", "--broker", left.url, "--agent", "one", "d", "uptime"], {
    home: home.path,
  });
  assert.equal(sent.code, 0, sent.stderr);
});

it("ends in time when the broker is frozen", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url, { qos: 1 }));
  await using gateway = await startGateway({ home: home.path }, ["--drain", "1s"]);
  await broker.kill("SIGSTOP");
  const begun = performance.now();
  gateway.kill("SIGTERM");
  const { code } = await gateway.ended;
  await broker.kill("SIGCONT");
  assert.equal(code, 0);
  assert.ok(performance.now() - begun < 10_000);
});

it("a health port that is taken is a named failure", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => taken.once("listening", resolve));
  const address = taken.address();
  const port = typeof address === "object" ? String(address?.port) : "";
  await using home = await temporaryHome(quickConfig(`embedded://127.0.0.1:${await freePort()}`));
  const env = { PICOCLAW_GATEWAY_PORT: port };
  const { code, stderr } = await picoclaw(["gateway"], { home: home.path, env });
  taken.close();
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`error: .*${port}`));
});

it("--config, --port and --log-format say where the configuration is, where to listen, how to log", async () => {
  await using home = await temporaryHome({});
  const file = join(home.path, "other.json");
  await writeFile(file, JSON.stringify(quickConfig(`embedded://127.0.0.1:${await freePort()}`)));
  const port = String(await freePort());
  const args = ["gateway", "--config", file, "--port", port, "--log-format", "text"];
  await using gateway = startPicoclaw(args, { home: home.path });
  await gateway.said(/ gateway started config=\S+other\.json .*page=http:\/\/localhost:\d+\//);
  assert.equal((await fetch(`http://127.0.0.1:${port}/ready`)).status, 200);
});
