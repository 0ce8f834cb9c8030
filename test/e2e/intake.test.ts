import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openTestDevice, type TestDevice } from "../support/channel.ts";
import { needsMosquitto, startMosquitto, type Mosquitto } from "../support/mosquitto.ts";
import {
  onceInCi,
  quickConfig,
  type Running,
  startGateway,
  startPicoclaw,
  temporaryHome,
} from "../support/picoclaw.ts";
import { needsPostgres, sharedPostgres } from "../support/postgres.ts";
import { startProxy } from "../support/proxy.ts";
import { until } from "../support/until.ts";

const needs = { skip: needsMosquitto.skip || needsPostgres.skip || onceInCi.skip };
const AGENT = "/picoclaw/assistant";
const HEARS = '"msg":"connected as the intake"';

/** Two gateways that share a database, the first one of which hears, and a device. */
async function openCluster(
  settings: object,
  gateway: object = {},
  firstStore = (url: string): string => url,
) {
  const stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const postgres = await sharedPostgres();
  const shared = postgres.url(await postgres.createDatabase());
  const start = async (store: string): Promise<Running> => {
    const more = { gateway: { store, ...gateway } };
    const config = quickConfig(broker.url, { qos: 1, ...settings }, more);
    const home = stack.use(await temporaryHome(config));
    return stack.use(await startGateway({ home: home.path }));
  };
  const first = await start(firstStore(shared));
  await first.said(HEARS);
  const second = await start(shared);
  const status = stack.use(await openTestDevice(broker.url, `${AGENT}/status`));
  const device = stack.use(await openTestDevice(broker.url, `${AGENT}/+/response`));
  const answered = (id: string): number =>
    device.texts().filter((text) => {
      const part: { id?: string; done?: boolean } = JSON.parse(text);
      return part.id === id && part.done === true;
    }).length;
  return {
    broker,
    first,
    second,
    status,
    device,
    answered,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Each from a client of its own: requests of one client wait for each other. */
async function ask({ client }: TestDevice, id: string): Promise<void> {
  const payload = JSON.stringify({ text: "What is the uptime?", id, stream: false });
  await client.publishAsync(`${AGENT}/${id}/request`, payload, { qos: 1 });
}

/** How often the request of each client was acknowledged, by whoever heard. */
function acknowledged(broker: Mosquitto): ReadonlyMap<string, number> {
  const sent = new Map<string, string>();
  const counts = new Map<string, number>();
  const lines = broker.log().split("\n");
  for (const line of lines) {
    const [, to, id, client] =
      /Sending PUBLISH to (\S+) \(.*, m(\d+), '\/picoclaw\/assistant\/(\w+)\/request'/.exec(line) ??
      [];
    if (client !== undefined) sent.set(`${to} ${id}`, client);
    const [, from, mid] = /Received PUBACK from (\S+) \(Mid: (\d+)/.exec(line) ?? [];
    const about = sent.get(`${from} ${mid}`);
    if (from === undefined || about === undefined) continue;
    sent.delete(`${from} ${mid}`);
    counts.set(about, (counts.get(about) ?? 0) + 1);
  }
  return counts;
}

for (const protocol_version of [5, 4]) {
  describe(`two gateways of one database, on MQTT ${protocol_version === 5 ? "5" : "3.1.1"}`, () => {
    it("need not be alone, but for another store, with gateway.exclusive", needs, async () => {
      await using cluster = await openCluster({ protocol_version }, { exclusive: true });
      const { broker, first, second, status, device, answered } = cluster;
      await ask(device, "one");
      await until("it is answered", () => answered("one") === 1);
      const postgres = await sharedPostgres();
      const gateway = { exclusive: true, store: postgres.url(await postgres.createDatabase()) };
      const config = quickConfig(broker.url, { qos: 1, protocol_version }, { gateway });
      await using home = await temporaryHome(config);
      await using other = startPicoclaw(["gateway"], { home: home.path });
      const { code, stderr } = await other.ended;
      assert.equal(code, 5, stderr);
      first.kill("SIGTERM");
      await ask(device, "two");
      await until("two is answered", () => answered("two") === 1);
      assert.doesNotMatch(second.stderr(), /another gateway serves/);
      assert.deepEqual(new Set(status.texts()), new Set(["online"]));
    });

    it("hand the channel over when one stops, which answers what it heard", needs, async () => {
      await using cluster = await openCluster({ protocol_version });
      const { first, second, status, device, answered } = cluster;
      await ask(device, "one");
      first.kill("SIGTERM");
      await ask(device, "two");
      await until("both are answered", () => answered("one") === 1 && answered("two") === 1);
      await second.said(HEARS);
      assert.equal((await first.ended).code, 0);
      assert.deepEqual(new Set(status.texts()), new Set(["online"]));
      second.kill("SIGTERM");
      await second.ended;
      await until("offline", () => status.texts().at(-1) === "offline");
    });

    it("lose nothing when the one that hears is killed", needs, async () => {
      await using cluster = await openCluster({ protocol_version });
      const { first, second, device, answered } = cluster;
      await ask(device, "one");
      first.kill("SIGKILL");
      await ask(device, "two");
      await second.said(HEARS);
      await until("two is answered", () => answered("two") === 1, 30_000);
      await until("one is answered", () => answered("one") >= 1, 30_000);
    });

    it("go on when the one that hears loses the database, and keeps its voice", needs, async () => {
      const postgres = await sharedPostgres();
      await using proxy = await startProxy(postgres.port);
      const through = (url: string): string => url.replace(`:${postgres.port}/`, `:${proxy.port}/`);
      await using cluster = await openCluster({ protocol_version }, {}, through);
      const { broker, first, second, device, answered } = cluster;
      await ask(device, "one");
      await until("one is answered", () => answered("one") === 1);
      proxy.blackhole(true);
      await ask(device, "two");
      await second.said(HEARS);
      await until("two is answered", () => answered("two") === 1, 30_000);
      assert.match(first.stderr(), /the lease of the intake is lost/);
      assert.doesNotMatch(first.stderr(), /connection to the broker was lost/);
      assert.equal(acknowledged(broker).get("two"), 1);
    });

    it("hear nothing twice when the one that hears is stopped for a while", needs, async () => {
      await using cluster = await openCluster({ protocol_version });
      const { broker, first, second, status, device, answered } = cluster;
      await ask(device, "one");
      await until("one is answered", () => answered("one") === 1);
      first.kill("SIGSTOP");
      const ids = Array.from({ length: 20 }, (_, index) => `r${index}`);
      for (const id of ids) await ask(device, id);
      await until("all are answered", () => ids.every((id) => answered(id) === 1), 30_000);
      first.kill("SIGCONT");
      await first.said("the lease of the intake is lost");
      // It is well, and may hear again.
      second.kill("SIGTERM");
      await ask(device, "last");
      await until("the last is answered", () => answered("last") === 1, 30_000);
      assert.deepEqual(new Set(ids.map((id) => answered(id))), new Set([1]));
      const counts = acknowledged(broker);
      assert.deepEqual([...counts.keys()].toSorted(), ["one", "last", ...ids].toSorted());
      assert.deepEqual(new Set(counts.values()), new Set([1]));
      assert.deepEqual(new Set(status.texts()), new Set(["online"]));
    });
  });
}

describe("two gateways of one database with two channels", () => {
  it("hear one each, and the last one both", needs, async () => {
    await using broker = await startMosquitto();
    const postgres = await sharedPostgres();
    const store = postgres.url(await postgres.createDatabase());
    const channel = (agent_id: string) => ({
      enabled: true,
      type: "mqtt",
      settings: { broker: broker.url, agent_id, qos: 1 },
    });
    const config = {
      channel_list: { north: channel("north"), south: channel("south") },
      gateway: { store },
    };
    await using home = await temporaryHome(config);
    await using other = await temporaryHome(config);
    const [first, second] = await Promise.all([
      startGateway({ home: home.path }),
      startGateway({ home: other.path }),
    ]);
    await using _first = first;
    await using _second = second;
    await until("each hears", () => heard(first) > 0 && heard(second) > 0, 60_000);
    await using device = await openTestDevice(broker.url, "/picoclaw/+/c/response");
    const askAgent = (agent: string) =>
      device.client.publishAsync(`/picoclaw/${agent}/c/request`, '{"text":"uptime"}', { qos: 1 });
    await Promise.all(["north", "south"].map(askAgent));
    await until("both are answered", () => answeredTopics(device).size === 2);
    const before = heard(second);
    first.kill("SIGKILL");
    await until("the other hears both", () => heard(second) > before, 30_000);
    await Promise.all(["north", "south"].map(askAgent));
    await until("both are answered", () => device.messages.length >= 4, 40_000);
  });
});

function heard({ stderr }: Running): number {
  return stderr().split(HEARS).length - 1;
}

function answeredTopics({ messages }: TestDevice): ReadonlySet<string> {
  return new Set(messages.map(({ topic }) => topic));
}
