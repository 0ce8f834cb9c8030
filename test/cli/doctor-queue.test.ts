import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { connect } from "mqtt";
import {
  freePort,
  type Mosquitto,
  needsMosquitto,
  OPEN,
  startMosquitto,
  withAcl,
} from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startGateway,
  startPicoclaw,
  temporaryHome,
} from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const slow = { ...needsMosquitto, timeout: 60_000 };
const QUEUE = ["doctor", "--offline", "--queue"];

async function doctor(home: string, args: readonly string[] = QUEUE): Promise<string> {
  return (await picoclaw(args, { home, env: { PICOCLAW_GATEWAY_PORT: "0" } })).stdout;
}

/** The client ids of doctor of which the broker has a session. */
async function sessionsLeft(broker: Mosquitto): Promise<readonly string[]> {
  const ids = new Set(broker.log().match(/picoclaw-doctor-[\da-f]{8}/g));
  assert.ok(ids.size > 0, "doctor connected");
  const left: string[] = [];
  for (const clientId of ids) {
    const client = connect(broker.url, { clientId, clean: false, protocolVersion: 5 });
    const connected = Promise.withResolvers<boolean>();
    client.once("connect", ({ sessionPresent }) => connected.resolve(sessionPresent));
    if (await connected.promise) left.push(clientId);
    await client.endAsync();
  }
  return left;
}

const GATEWAY_RIGHTS = withAcl(
  "pattern write /picoclaw/assistant/%u/request",
  "user gw",
  "topic read /picoclaw/assistant/+/request",
  "topic write /picoclaw/assistant/+/response",
);

describe("doctor --queue", () => {
  const brokers = [
    ["as it is delivered", OPEN, /^warn {2}broker\.queue .* queued 1000 of 1100 messages/m],
    [
      "with a small queue",
      [...OPEN, "max_queued_messages 64"],
      /^warn {2}broker\.queue .* queued 64 of 1100 messages .*\(try: .*max_queued_messages/m,
    ],
    [
      "with a large queue",
      [...OPEN, "max_queued_messages 5000"],
      /^ok {4}broker\.queue .* queued all 1100 messages/m,
    ],
    [
      "with an access list",
      GATEWAY_RIGHTS.lines ?? [],
      /^warn {2}broker\.queue .* queued 1000 of 1100 messages/m,
    ],
  ] as const;
  for (const [which, lines, words] of brokers) {
    for (const protocol_version of [5, 4]) {
      it(`measures a mosquitto ${which}, MQTT ${protocol_version}`, slow, async () => {
        await using broker = await startMosquitto({ ...GATEWAY_RIGHTS, lines });
        const settings = { qos: 1, protocol_version, username: "gw" };
        await using home = await temporaryHome(quickConfig(broker.url, settings));
        assert.match(await doctor(home.path), words);
        assert.deepEqual(await sessionsLeft(broker), []);
      });
    }
  }

  it("disturbs no gateway, and no screen of listen", slow, async () => {
    for (const options of [{}, GATEWAY_RIGHTS]) {
      await using broker = await startMosquitto(options);
      const settings = { qos: 1, username: "gw" };
      await using home = await temporaryHome(quickConfig(broker.url, settings));
      await using gateway = await startGateway({ home: home.path });
      await gateway.said('"msg":"gateway started"');
      await using listener = startPicoclaw(["listen", "--only", "requests"], { home: home.path });
      await listener.said("note: connected");
      assert.match(await doctor(home.path), /^warn {2}broker\.queue /m);
      const [, later = ""] = gateway.stderr().split('"msg":"gateway started"');
      // mosquitto counts what it drops, which a gateway watches; these rights are without `status` and `info`.
      const expected = String.raw`drop|"(?:status|info) could not be published"`;
      assert.doesNotMatch(later, new RegExp(`"level":"(?:warn|error)"(?![^\\n]*(?:${expected}))`));
      const { stderr } = await picoclaw(["send", "gw", "--no-wait", "/help"], { home: home.path });
      assert.equal(stderr, "");
      await listener.said("/help");
      assert.match(listener.stdout(), /^[^\n]*\tgw\trequest\t\/help\n$/);
    }
  });

  it("leaves no session at a broker of MQTT 3.1.1 when it is interrupted", slow, async () => {
    await using broker = await startMosquitto();
    const settings = { qos: 1, protocol_version: 4 };
    await using home = await temporaryHome(quickConfig(broker.url, settings));
    await using running = startPicoclaw(QUEUE, { home: home.path });
    await until("it publishes", () => /Received PUBLISH .*\/queue'/.test(broker.log()));
    running.kill("SIGINT");
    assert.equal((await running.ended).code, 130);
    assert.deepEqual(await sessionsLeft(broker), []);
  });

  it("has nothing to measure at QoS 0, and where the broker is not reached", slow, async () => {
    await using broker = await startMosquitto();
    await using none = await temporaryHome(quickConfig(broker.url));
    assert.match(await doctor(none.path), /^skip {2}broker\.queue .*at QoS 0/m);
    await using away = await temporaryHome(quickConfig("tcp://127.0.0.1:1", { qos: 1 }));
    assert.match(await doctor(away.path), /^skip {2}broker\.queue .*was not reached$/m);
  });
});

it(
  "without --queue doctor says how to measure, and publishes none of these messages",
  slow,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url, { qos: 1 }));
    const out = await doctor(home.path, ["doctor", "--offline"]);
    assert.match(out, /^skip {2}broker\.queue .*picoclaw doctor --queue does it/m);
    assert.match(out, /^ok {4}broker\.session /m);
    assert.doesNotMatch(broker.log(), /\/queue'/);
    assert.deepEqual(await sessionsLeft(broker), []);
  },
);

it(
  "the session of a gateway at the built-in broker is measured where one serves",
  slow,
  async () => {
    const config = quickConfig(`embedded://127.0.0.1:${await freePort()}`, { qos: 1 });
    await using home = await temporaryHome(config);
    assert.match(await doctor(home.path), /^skip {2}broker\.session .*ends with its gateway$/m);
    await using gateway = await startGateway({ home: home.path });
    await gateway.said('"msg":"gateway started"');
    assert.match(await doctor(home.path), /^ok {4}broker\.session .*while a gateway is away$/m);
  },
);
