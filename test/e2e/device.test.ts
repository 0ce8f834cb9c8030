import assert from "node:assert/strict";
import { it } from "node:test";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startClient,
  startGateway,
  startPicoclaw,
  temporaryHome,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const TOPIC = "/picoclaw/assistant/device1";

it("send ends with 4 where no broker listens, naming the broker and a way out", async () => {
  await using home = await temporaryFolder();
  const broker = `tcp://127.0.0.1:${await freePort()}`;
  const { code, stdout, stderr } = await picoclaw(
    ["send", "--broker", broker, "--agent", "a", "d", "hi"],
    { home: home.path },
  );
  assert.equal(code, 4, stderr);
  assert.equal(stdout, "");
  assert.ok(stderr.includes(broker));
  assert.match(stderr, /^error: .*\n(.*\n)?try: .*\n$/);
});

it("send ends with 6 at once where nobody serves the agent", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url));
  for (const mqtt of ["5", "4"]) {
    if (mqtt === "4") {
      await using gateway = await startGateway({ home: home.path });
      gateway.kill("SIGTERM");
      await gateway.ended;
    }
    const { code, stderr } = await picoclaw(["send", "device1", "hi", "--mqtt", mqtt], {
      home: home.path,
    });
    assert.equal(code, 6, stderr);
    assert.match(stderr, /nobody serves the agent assistant/);
  }
});

it(
  "send ends with 3 where no answer comes in time, and 2 and 78 for its own mistakes",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    await using _deaf = startClient("mosquitto_sub", [
      "-p",
      String(broker.port),
      "-t",
      `${TOPIC}/request`,
    ]);
    await until("subscribed", () => broker.log().includes(`${TOPIC}/request (QoS 0)`));
    const late = await picoclaw(["send", "device1", "hi", "-t", "300ms", "--json"], {
      home: home.path,
    });
    assert.equal(late.code, 3, late.stderr);
    assert.match(late.stdout, /^\{"v":1,"type":"result","outcome":"no_answer","exit":3.*\}\n$/);
    assert.equal((await picoclaw(["send", "a/b", "hi"], { home: home.path })).code, 2);
    const empty = `${home.path}/empty`;
    assert.equal((await picoclaw(["send", "device1", "hi"], { home: empty })).code, 78);
  },
);

it(
  "send against a gateway that sends neither id nor done takes the message and two seconds of quiet",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    const port = String(broker.port);
    await using old = startClient("mosquitto_sub", [
      "-p",
      port,
      "-t",
      `${TOPIC}/request`,
      "-C",
      "1",
    ]);
    await until("subscribed", () => broker.log().includes(`${TOPIC}/request (QoS 0)`));
    await using sender = startPicoclaw(["send", "device1", "hi"], { home: home.path });
    await old.ended;
    await using _reply = startClient("mosquitto_pub", [
      "-p",
      port,
      "-t",
      `${TOPIC}/response`,
      "-m",
      '{"text":"from Go"}',
    ]);
    const { code, stdout, stderr } = await sender.ended;
    assert.equal(code, 0, stderr);
    assert.equal(stdout, "from Go\n");
  },
);

it(
  "listen in a pipe prints a line a message, escapes what could forge one, and ends quietly for head",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    await using listener = startPicoclaw(["listen", "--only", "responses", "-n", "1"], {
      home: home.path,
    });
    await until("subscribed", () =>
      broker.log().includes("/picoclaw/assistant/+/response (QoS 1)"),
    );
    const nasty = JSON.stringify({ text: "one\ntwo\t\u001b[2J\u202eend" });
    await using _publisher = startClient("mosquitto_pub", [
      "-p",
      String(broker.port),
      "-t",
      `${TOPIC}/response`,
      "-m",
      nasty,
    ]);
    const { code, stdout } = await listener.ended;
    assert.equal(code, 0);
    const columns = stdout.trimEnd().split("\t");
    assert.equal(stdout.split("\n").length, 2);
    assert.equal(columns.length, 4);
    assert.deepEqual(columns.slice(1, 3), ["device1", "response"]);
    // oxlint-disable-next-line no-control-regex
    assert.doesNotMatch(stdout.trimEnd(), /[\u0000-\u0008\u000a-\u001f\u202e]/);
  },
);

it("listen tells the loss and the return of the broker, with the gap", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url));
  await using listener = startPicoclaw(["listen", "--json"], { home: home.path });
  await listener.said('"connected"');
  await broker.kill();
  await listener.said('"lost"');
  await broker.start();
  await listener.said('"restored"');
  assert.match(listener.stdout(), /"gap_ms":\d+/);
  listener.kill("SIGINT");
  assert.equal((await listener.ended).code, 0);
});

it(
  "listen --for ends with 0, and with 3 when fewer came than -n asked",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    const waited = await picoclaw(["listen", "--for", "200ms"], { home: home.path });
    assert.equal(waited.code, 0, waited.stderr);
    const missed = await picoclaw(["listen", "--for", "200ms", "-n", "1"], { home: home.path });
    assert.equal(missed.code, 3, missed.stderr);
  },
);

it(
  "bad payloads get one error answer each, and retained or empty ones nothing",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url, { max_payload_bytes: 100 }));
    await using _gateway = await startGateway({ home: home.path });
    const port = String(broker.port);
    await using watcher = startClient("mosquitto_sub", [
      "-p",
      port,
      "-t",
      `${TOPIC}/response`,
      "-C",
      "3",
    ]);
    await until("subscribed", () => broker.log().includes(`${TOPIC}/response (QoS 0)`));
    const publish = async (...args: string[]): Promise<void> => {
      await using client = startClient("mosquitto_pub", [
        "-p",
        port,
        "-q",
        "1",
        "-t",
        `${TOPIC}/request`,
        ...args,
      ]);
      assert.equal((await client.ended).code, 0);
    };
    await publish("-n");
    await publish("-m", "not json");
    await publish("-m", '{"text":"  ","id":"r-9"}');
    await publish("-m", JSON.stringify({ text: "x".repeat(200) }));
    const { stdout } = await watcher.ended;
    const codes = [...stdout.matchAll(/"error":\{"code":"(\w+)"\}/g)].map(([, code]) => code);
    assert.deepEqual(codes, ["bad_request", "bad_request", "too_large"]);
    assert.equal(stdout.split("\n")[1]?.includes('"id":"r-9"'), true, stdout);
  },
);
