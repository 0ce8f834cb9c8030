import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { openTestDevice, type TestDevice } from "../support/channel.ts";
import {
  FLOODS,
  MISDEEDS,
  startHostileBroker,
  type HostileBroker,
  type Misdeed,
} from "../support/hostile-broker.ts";
import { needsMosquitto, startMosquitto, type Mosquitto } from "../support/mosquitto.ts";
import {
  onceInCi,
  oncePerRuntimeInCi,
  picoclaw,
  type Running,
  startPicoclaw,
  writeConfig,
} from "../support/picoclaw.ts";
import { memoryOf } from "../support/proc.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

/** What a hostile broker may cost, in MB. */
const GROWTH = 50;
/** How long another client waits at most, on a machine that is shared. */
const PATIENCE_MS = 40_000;
const onLinux = process.platform === "linux";

/** A gateway with a channel at each hostile broker, and one at a good broker that it has to serve meanwhile. */
interface Siege extends AsyncDisposable {
  readonly gateway: Running;
  readonly brokers: readonly HostileBroker[];
  /** Asks through the good broker and waits for the answer; how many milliseconds that took. */
  readonly ask: (agent: string, ms?: number) => Promise<number>;
}

const mqtt = (broker: string, agent_id: string) => ({
  enabled: true,
  type: "mqtt",
  settings: { broker, agent_id },
});

async function besiege(
  good: Mosquitto,
  misdeeds: readonly Misdeed[],
  first: "good" | "bad",
): Promise<Siege> {
  const home = await temporaryFolder();
  const brokers = await Promise.all(
    misdeeds.map((misdeed, index) => startHostileBroker(misdeed, `hall${index}`, good.port)),
  );
  for (const broker of brokers) broker.turn(first);
  const channels = brokers.map(({ url }, index) => [`m${index}`, mqtt(url, `hall${index}`)]);
  await writeConfig(home.path, {
    channel_list: { ...Object.fromEntries(channels), good: mqtt(good.url, "good") },
  });
  const gateway = startPicoclaw(["gateway", "--drain", "1s", "--connect-timeout", "2s"], {
    home: home.path,
  });
  const device = await openTestDevice(good.url, "/picoclaw/+/device/response");
  await gateway.said('"channel":"good"');
  let asked = 0;
  return {
    gateway,
    brokers,
    async ask(agent, ms = 20_000) {
      const id = `q${(asked += 1)}`;
      const begin = performance.now();
      await until(
        `${agent} answers ${id}: ${gateway
          .stderr()
          .split("\n")
          .filter((line) => line.includes(`"${agent.replace("hall", "m")}"`))
          .join("\n")}`,
        async () => {
          if (isAnswered(device, id)) return true;
          await device.client.publishAsync(
            `/picoclaw/${agent}/device/request`,
            `{"text":"uptime","id":"${id}"}`,
          );
          await new Promise((resolve) => setTimeout(resolve, 50));
          return isAnswered(device, id);
        },
        ms,
      );
      return performance.now() - begin;
    },
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await device[Symbol.asyncDispose]();
      for (const broker of brokers) await broker[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

/** Honest work, as a yardstick: a thousand clients that ask at once, and are answered. */
async function work(broker: string): Promise<void> {
  await using device = await openTestDevice(broker, "/picoclaw/good/+/response");
  const ask = (index: number): Promise<unknown> => {
    const topic = `/picoclaw/good/busy${index}/request`;
    return device.client.publishAsync(topic, `{"text":"uptime","id":"b${index}"}`, { qos: 1 });
  };
  await Promise.all(Array.from({ length: 1000 }, (_, index) => ask(index)));
  const done = (): number => device.texts().filter((text) => text.includes('"done":true')).length;
  await until("a thousand answers", () => done() >= 1000);
}

function isAnswered(device: TestDevice, id: string): boolean {
  return device
    .texts()
    .some((text) => text.includes(`"id":"${id}"`) && text.includes('"done":true'));
}

async function endsInTime(gateway: Running): Promise<void> {
  const begin = performance.now();
  gateway.kill("SIGTERM");
  const { code, signal, stderr } = await gateway.ended;
  assert.equal(code, 0, `${signal}: ${stderr.slice(-3000)}`);
  assert.ok(performance.now() - begin < 20_000, `it took ${performance.now() - begin} ms to end`);
}

const needs = { skip: needsMosquitto.skip || oncePerRuntimeInCi.skip };

describe("a hostile broker", needs, () => {
  let good: Mosquitto;
  before(async () => {
    good = await startMosquitto();
  });
  after(() => good[Symbol.asyncDispose]());

  it(`cannot crash the gateway, in ${MISDEEDS.length} ways at once, nor be in the way when a good one takes its place`, async () => {
    await using siege = await besiege(good, MISDEEDS, "bad");
    const { gateway, brokers, ask } = siege;
    await ask("good");
    const rested = onLinux ? (await memoryOf(gateway.pid)).rss : 0;
    await until(
      "each has done it, and most of them twice",
      () =>
        brokers.every((broker) => broker.struck() > 0) &&
        brokers.filter((broker) => broker.connections() > 1).length > brokers.length / 2,
    );
    await ask("good", 2_000);
    if (onLinux) {
      const grown = (await memoryOf(gateway.pid)).peak - rested;
      assert.ok(grown < GROWTH, `it grew by ${grown} MB`);
    }
    for (const broker of brokers) broker.turn("good");
    await Promise.all(brokers.map((_, index) => ask(`hall${index}`)));
    const log = gateway.stderr();
    assert.ok(!log.includes("unexpected"), log);
    for (const words of ["a second CONNACK", "more than four bytes", "268435460 bytes", "AUTH"]) {
      assert.ok(log.includes(words), `the log names ${words}`);
    }
    await endsInTime(gateway);
  });

  const growth = `cannot make it grow by ${GROWTH} MB with ${FLOODS.length} floods, one after the other`;
  it(growth, onceInCi, async () => {
    await using siege = await besiege(good, FLOODS, "good");
    const { gateway, brokers, ask } = siege;
    await Promise.all([...brokers.keys()].map((index) => ask(`hall${index}`)));
    await work(good.url);
    const rested = onLinux ? (await memoryOf(gateway.pid)).peak : 0;
    for (const broker of brokers) broker.turn("armed");
    await until("all are connected", () => brokers.every((broker) => broker.waiting() > 0), 30_000);
    for (const [index, broker] of brokers.entries()) {
      const atFirst = onLinux ? (await memoryOf(gateway.pid)).peak : 0;
      broker.strike();
      const waited = await ask("good", PATIENCE_MS);
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      broker.turn("good");
      const grown = onLinux ? (await memoryOf(gateway.pid)).peak - atFirst : 0;
      const said = `${grown.toFixed(0)} MB more, another waited ${waited.toFixed(0)} ms: ${FLOODS[index]?.name}`;
      assert.ok(grown < GROWTH, said);
    }
    await Promise.all([...brokers.keys()].map((index) => ask(`hall${index}`)));
    if (onLinux) {
      // One after the other adds up a little, because a runtime gives memory back late.
      const grown = (await memoryOf(gateway.pid)).peak - rested;
      assert.ok(grown < 2 * GROWTH, `all together cost ${grown} MB`);
    }
    // Each answer has a line: of a flood in the names of many clients as many as are served.
    const lines = gateway.stderr().split("\n");
    const others = lines.filter((line) => !line.includes('"msg":"answered"')).join("\n");
    assert.ok(others.length < 1_000_000, `the log stays small: ${others.slice(-2_000)}`);
    await endsInTime(gateway);
  });

  it("is named by send and listen, which end", async () => {
    await using home = await temporaryFolder();
    const some = [...MISDEEDS, ...FLOODS].filter(({ name }) =>
      /HTTP|noise|empty CONNACK|never ends|256 MB$|second CONNACK|says nothing at all/.test(name),
    );
    await Promise.all(
      some.map(async (misdeed) => {
        await using broker = await startHostileBroker(misdeed, "hall", good.port);
        const flags = ["--broker", broker.url, "--agent", "hall", "--connect-timeout", "1s"];
        const sent = await picoclaw(["send", ...flags, "-t", "2s", "c1", "hi"], {
          home: home.path,
        });
        assert.ok([3, 4].includes(sent.code ?? -1), `${misdeed.name}: ${sent.code} ${sent.stderr}`);
        assert.match(sent.stderr, /^error: .+/, misdeed.name);
        const heard = await picoclaw(["listen", ...flags, "-n", "5", "--for", "2s"], {
          home: home.path,
        });
        assert.ok(
          [3, 4].includes(heard.code ?? -1),
          `${misdeed.name}: ${heard.code} ${heard.stderr}`,
        );
      }),
    );
  });
});
