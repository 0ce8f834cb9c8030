import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { hangs, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startClient,
  startGateway,
  startPicoclaw,
  writeConfig,
  temporaryHome,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const TOPIC = "/picoclaw/assistant/device1";

it("answers mosquitto_pub on mosquitto_sub, as the quick start says", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url));
  await using gateway = await startGateway({ home: home.path });
  const port = String(broker.port);
  await using subscriber = startClient("mosquitto_sub", ["-p", port, "-t", `${TOPIC}/response`]);
  await until("the subscriber is there", () => broker.log().includes(`${TOPIC}/response (QoS 0)`));
  const asked = performance.now();
  const question = JSON.stringify({ text: "What is the CPU usage?" });
  await using publisher = startClient("mosquitto_pub", [
    "-p",
    port,
    "-t",
    `${TOPIC}/request`,
    "-m",
    question,
  ]);
  assert.equal((await publisher.ended).code, 0);
  await until("an answer comes", () => subscriber.stdout().includes("\n"));
  const took = performance.now() - asked;
  const answer: unknown = JSON.parse(subscriber.stdout());
  assert.match(
    JSON.stringify(answer),
    /^\{"text":"CPU usage is \d+\.\d % .*","seq":0,"done":true\}$/,
  );
  assert.ok(took < 20_000, `the answer took ${took} ms`);
  assert.ok(!gateway.stderr().includes("What is the CPU"), "the log holds no payload text");
});

it("answers send, and listen sees both directions", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url));
  await using gateway = await startGateway({ home: home.path });
  await using listener = startPicoclaw(["listen", "device1", "-n", "2"], { home: home.path });
  await until("listen has subscribed", () => broker.log().includes(`${TOPIC}/response (QoS 1)`));
  const sent = await picoclaw(["send", "device1", "What is the CPU usage?"], { home: home.path });
  assert.equal(sent.code, 0, sent.stderr);
  assert.match(sent.stdout, /^CPU usage is \d+\.\d % .*\n$/);
  const heard = await listener.ended;
  assert.equal(heard.code, 0, heard.stderr);
  const lines = heard.stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.split("\t").slice(1));
  assert.deepEqual(lines, [
    ["device1", "request", "What is the CPU usage?"],
    ["device1", "response", sent.stdout.trimEnd()],
  ]);
  assert.match(gateway.stderr(), /"msg":"answered".*"client":"device1","outcome":"ok"/);
});

it("answers a python client over MQTT 3.1.1 at QoS 0", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url));
  await using _gateway = await startGateway({ home: home.path });
  const script = `
import sys, json
import paho.mqtt.client as mqtt
def on_connect(c, u, f, rc): c.subscribe("${TOPIC}/response")
def on_subscribe(c, u, m, g): c.publish("${TOPIC}/request", json.dumps({"text": "how long have you been up?"}))
def on_message(c, u, m): print(m.payload.decode()); sys.stdout.flush(); c.disconnect()
c = mqtt.Client(protocol=mqtt.MQTTv311)
c.on_connect, c.on_subscribe, c.on_message = on_connect, on_subscribe, on_message
c.connect("127.0.0.1", ${broker.port})
c.loop_forever()
`;
  await using python = startClient("/usr/bin/python3", ["-c", script]);
  const { stdout, stderr, code } = await python.ended;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /"seq":0,"done":true\}/);
});

it("answers mosquitto_rr over MQTT 5 with its correlation", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url));
  await using _gateway = await startGateway({ home: home.path });
  const own = ["-t", `${TOPIC}/request`, "-e", `${TOPIC}/answers`, "-W", "5", "-F", "%p %C"];
  const args = ["-V", "5", "-p", String(broker.port), ...own, "-m", '{"text":"uptime?"}'];
  await using asker = startClient("mosquitto_rr", args);
  const { stdout, stderr, code } = await asker.ended;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^\{"text":".*","seq":0,"done":true\} application\/json\n$/);
});

it("try answers over the built-in broker and writes nothing", async () => {
  await using home = await temporaryFolder();
  const missing = join(home.path, "none");
  const tried = await picoclaw(["try", "What is the CPU usage?"], { home: missing });
  assert.equal(tried.code, 0, tried.stderr);
  assert.match(tried.stdout, /^CPU usage is /);
  await assert.rejects(readFile(missing), { code: "ENOENT" });
});

it(
  "try lets no other user of the machine ask meanwhile, in whosever name",
  needsMosquitto,
  async () => {
    await using home = await temporaryFolder();
    await using model = await startModelServer();
    model.otherwise(hangs());
    const model_list = [{ model_name: "m", model: "openai/m", api_base: model.base }];
    const more = {
      agents: { defaults: { model_name: "m" } },
      model_list,
      tools: { profiles: { workshop: { tools: ["*"] } } },
    };
    await writeConfig(home.path, quickConfig("embedded", {}, more));
    await using tried = startPicoclaw(["try", "Wait"], { home: home.path });
    await model.received(0);
    const port = /^broker 127\.0\.0\.1:(\d+) /m.exec(tried.stderr())?.[1] ?? "";
    for (const credentials of [[], ["-u", "try"], ["-u", "try", "-P", "try"]]) {
      const topic = ["-t", "/picoclaw/assistant/workshop/request", "-m", "hello"];
      await using other = startClient("mosquitto_pub", ["-p", port, ...credentials, ...topic]);
      const { code, stderr } = await other.ended;
      assert.notEqual(code, 0);
      assert.match(stderr, /not authori[sz]ed/i);
    }
    assert.equal(model.requests.length, 1);
  },
);

it("serves devices through the built-in broker", needsMosquitto, async () => {
  await using home = await temporaryHome(quickConfig("embedded://127.0.0.1:0"));
  await using gateway = await startGateway({ home: home.path });
  const port = /"built-in broker listens".*?"port":(\d+)/.exec(gateway.stderr())?.[1] ?? "";
  await using subscriber = startClient("mosquitto_sub", [
    "-p",
    port,
    "-t",
    `${TOPIC}/response`,
    "-C",
    "1",
  ]);
  const message = [
    "-p",
    port,
    "-t",
    `${TOPIC}/request`,
    "-m",
    '{"text":"uptime"}',
    "--repeat",
    "20",
    "--repeat-delay",
    "0.2",
  ];
  await using _publisher = startClient("mosquitto_pub", message);
  const { stdout } = await subscriber.ended;
  assert.match(stdout, /"done":true/);
});
