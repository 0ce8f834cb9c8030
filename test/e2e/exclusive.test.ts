import assert from "node:assert/strict";
import { it } from "node:test";
import { openTestDevice, retained } from "../support/channel.ts";
import {
  HIDES_INFO,
  needsMosquitto,
  startMosquitto,
  type Mosquitto,
} from "../support/mosquitto.ts";
import {
  onceInCi,
  picoclaw,
  quickConfig,
  type Running,
  startGateway,
  startPicoclaw,
  temporaryHome,
} from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const needs = { skip: needsMosquitto.skip || onceInCi.skip };

const INFO = "/picoclaw/assistant/info";
const STATUS = "/picoclaw/assistant/status";
const REFUSED = /another gateway serves the agent assistant[^]*gateway\.exclusive[^]*try: /;

const homeFor = (broker: Mosquitto, exclusive: boolean, settings = {}) =>
  temporaryHome(quickConfig(broker.url, settings, { gateway: { exclusive } }));

const infoOf = async (broker: Mosquitto): Promise<{ instance: string; others?: unknown }> =>
  JSON.parse(await retained(broker, INFO));

async function refused(gateway: Running): Promise<void> {
  const { code, stderr } = await gateway.ended;
  assert.equal(code, 5, stderr);
  assert.match(stderr, REFUSED);
}

/** One gateway serves and is seen; the other one is gone without a trace. */
async function servesAlone(broker: Mosquitto, home: string): Promise<void> {
  await until("it is named alone", async () => (await infoOf(broker)).others === undefined);
  assert.equal(await retained(broker, STATUS), "online");
  const sent = await picoclaw(["send", "c", "uptime"], { home });
  assert.equal(sent.code, 0, sent.stderr);
}

for (const protocol_version of [5, 4]) {
  for (const [first, second] of [
    [true, true],
    [false, true],
    [true, false],
  ] as const) {
    it(
      `of two gateways the second one ends with 5: exclusive ${first}, then ${second}; MQTT ${protocol_version}`,
      needs,
      async () => {
        await using broker = await startMosquitto();
        const settings = { protocol_version, qos: 1 };
        await using home = await homeFor(broker, first, settings);
        await using other = await homeFor(broker, second, settings);
        await using stays = await startGateway({ home: home.path });
        await stays.said("gateway started");
        const { instance } = await infoOf(broker);
        await using device = await openTestDevice(broker.url, STATUS);
        await using ends = startPicoclaw(["gateway"], { home: other.path });
        await refused(ends);
        await servesAlone(broker, home.path);
        assert.equal((await infoOf(broker)).instance, instance);
        assert.ok(!device.texts().includes("offline"), device.texts().join());
      },
    );
  }

  it(
    `of gateways that start at once exactly one stays; MQTT ${protocol_version}`,
    needs,
    async () => {
      await using broker = await startMosquitto();
      await using home = await homeFor(broker, true, { protocol_version });
      await using other = await homeFor(broker, true, { protocol_version });
      await using third = await homeFor(broker, true, { protocol_version });
      await using one = startPicoclaw(["gateway"], { home: home.path });
      await using two = startPicoclaw(["gateway"], { home: other.path });
      await using three = startPicoclaw(["gateway"], { home: third.path });
      const all = [one, two, three];
      const ended: Running[] = [];
      for (const gateway of all) void gateway.ended.then(() => ended.push(gateway));
      const connected = () => all.filter((each) => each.stderr().includes('"msg":"connected"'));
      await until("one serves, two have ended", () => {
        return connected().length === 1 && ended.length === 2;
      });
      for (const gateway of ended) await refused(gateway);
      await servesAlone(broker, home.path);
    },
  );
}

it("starts again after kill -9, beside what it has left", needs, async () => {
  await using broker = await startMosquitto();
  await using home = await homeFor(broker, true, { qos: 1 });
  await using killed = await startGateway({ home: home.path });
  await until("its info", async () => (await infoOf(broker)).instance !== "");
  killed.kill("SIGKILL");
  await killed.ended;
  await using again = await startGateway({ home: home.path });
  await again.said("gateway started");
  await using other = await homeFor(broker, true);
  again.kill("SIGKILL");
  await again.ended;
  await using next = await startGateway({ home: other.path });
  await next.said("gateway started");
});

it("starts where info cannot be read, and says so", needs, async () => {
  await using broker = await startMosquitto(HIDES_INFO);
  await using home = await homeFor(broker, true);
  await using gateway = await startGateway({ home: home.path });
  await gateway.said("another gateway would not be noticed");
});

it("keeps requests until it may serve", needs, async () => {
  await using broker = await startMosquitto();
  await using home = await homeFor(broker, true, { qos: 1 });
  await using first = await startGateway({ home: home.path });
  await first.said("gateway started");
  first.kill("SIGTERM");
  await first.ended;
  const asked = await picoclaw(["send", "c", "uptime", "--no-wait"], { home: home.path });
  assert.equal(asked.code, 0, asked.stderr);
  await using other = await homeFor(broker, false);
  await using serves = await startGateway({ home: other.path });
  await serves.said("gateway started");
  await using device = await openTestDevice(broker.url, "/picoclaw/assistant/c/response");
  await using refusedOne = startPicoclaw(["gateway"], { home: home.path });
  await refused(refusedOne);
  serves.kill("SIGTERM");
  await serves.ended;
  await using again = await startGateway({ home: home.path });
  await until("the answer", () => device.texts().length === 1);
  again.kill("SIGTERM");
  await again.ended;
});
