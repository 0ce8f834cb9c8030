import assert from "node:assert/strict";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
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
  temporaryHome,
  writeConfig,
} from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const needs = { skip: needsMosquitto.skip || onceInCi.skip };

const INFO = "/picoclaw/assistant/info";
const STATUS = "/picoclaw/assistant/status";
const ANOTHER = "another gateway serves this agent id: every request is answered twice";

interface Info {
  readonly instance: string;
  readonly gateways: readonly { readonly instance: string; readonly load?: number }[];
  readonly others?: readonly { readonly instance: string }[];
}

async function infoOf(broker: Mosquitto): Promise<Info> {
  return JSON.parse(await retained(broker, INFO));
}

async function instanceOf(home: string): Promise<string> {
  const file = join(home, "workspace/state/instance.json");
  const { instance }: { instance: string } = JSON.parse(await readFile(file, "utf8"));
  return instance;
}

const check = (path: string) => picoclaw(["gateway", "--check"], { home: path });

const warnings = (gateway: Running): number => gateway.stderr().split(ANOTHER).length - 1;

for (const protocol_version of [5, 4]) {
  const config = (broker: Mosquitto) => quickConfig(broker.url, { protocol_version, qos: 1 });

  it(
    `two gateways tell of each other, and the one that is left has status and info; MQTT ${protocol_version}`,
    needs,
    async () => {
      await using broker = await startMosquitto();
      await using home = await temporaryHome(config(broker));
      await using other = await temporaryHome(config(broker));
      await using stays = await startGateway({ home: home.path });
      await using killed = await startGateway({ home: other.path });
      await Promise.all([stays.said(ANOTHER), killed.said(ANOTHER)]);
      const [own, another] = [await instanceOf(home.path), await instanceOf(other.path)];
      assert.match(stays.stderr(), new RegExp(`"instance":"${another}","host":"[^"]+"`));
      assert.match(killed.stderr(), new RegExp(`"instance":"${own}","host":"[^"]+"`));
      const status = await picoclaw(["send", "c", "/status"], { home: home.path });
      assert.match(
        status.stdout,
        new RegExp(`every request is answered twice, also by the gateway (${own}|${another}) on `),
      );

      killed.kill("SIGKILL");
      await until("its info", async () => {
        const info = await infoOf(broker);
        return info.instance === own && info.others === undefined;
      });
      assert.equal(await retained(broker, STATUS), "online");
      await stays.said("the other gateway of this agent id has ended");

      await using again = await startGateway({ home: other.path });
      await again.said(ANOTHER);
      await until("it is told again", () => warnings(stays) === 2);
      await using device = await openTestDevice(broker.url, STATUS);
      again.kill("SIGTERM");
      assert.equal((await again.ended).code, 0);
      await until("its info", async () => (await infoOf(broker)).instance === own);
      assert.ok(!device.texts().includes("offline"), device.texts().join());
      assert.deepEqual([warnings(stays), warnings(again)], [2, 1]);
      const { gateways } = await infoOf(broker);
      assert.deepEqual(
        gateways.map(({ instance, load }) => [instance, load]),
        [[own, 0]],
      );
      stays.kill("SIGTERM");
      assert.equal((await stays.ended).code, 0);
      assert.equal(await retained(broker, STATUS), "offline");
    },
  );
}

it("what a killed gateway left is not another one", needs, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url, { qos: 1 }));
  await using killed = await startGateway({ home: home.path });
  await until("its info", async () => (await infoOf(broker)).gateways.length === 1);
  killed.kill("SIGKILL");
  await killed.ended;
  await using again = await startGateway({ home: home.path });
  await until("online", async () => (await retained(broker, STATUS)) === "online");
  const checked = await picoclaw(["send", "c", "/status"], { home: home.path });
  assert.doesNotMatch(checked.stdout, /answered twice/);
  assert.equal(warnings(again), 0);
});

it("a copied home is a gateway of its own, with its own client id", needs, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url, { qos: 1 }));
  await using original = await startGateway({ home: home.path });
  await original.said("gateway started");
  const copy = `${home.path}-copy`;
  // A socket cannot be copied.
  await cp(home.path, copy, { recursive: true, filter: (source) => !source.endsWith(".sock") });
  await using copied = await startGateway({ home: copy });
  await Promise.all([original.said(ANOTHER), copied.said(ANOTHER)]);
  await copied.said("this state folder is a copy");
  assert.notEqual(await instanceOf(copy), await instanceOf(home.path));
  const ids = new Set(broker.log().match(/picoclaw-mqtt-assistant-[0-9a-f]{8}/g));
  assert.equal(ids.size, 2);
  assert.doesNotMatch(broker.log(), /already connected/);
});

it("two gateways of one home tell of each other as well", needs, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url, { qos: 1 }));
  await using one = await startGateway({ home: home.path });
  await using two = await startGateway({ home: home.path });
  await Promise.all([one.said(ANOTHER), two.said(ANOTHER)]);
  two.kill("SIGTERM");
  await two.ended;
  await one.said("the other gateway of this agent id has ended");
});

it("an access list that hides info fails nobody", needs, async () => {
  await using broker = await startMosquitto(HIDES_INFO);
  await using home = await temporaryHome(quickConfig(broker.url));
  await using other = await temporaryHome(quickConfig(broker.url));
  await using stays = await startGateway({ home: home.path });
  await using ends = await startGateway({ home: other.path });
  await Promise.all([stays.said("gateway started"), ends.said("gateway started")]);
  await until("both read status", () => broker.log().split(`${STATUS} (QoS 0)`).length > 2);
  ends.kill("SIGTERM");
  assert.equal((await ends.ended).code, 0);
  await until("online again", async () => (await retained(broker, STATUS)) === "online");
  assert.deepEqual([warnings(stays), warnings(ends)], [0, 0]);
  const sent = await picoclaw(["send", "c", "uptime"], { home: home.path });
  assert.equal(sent.code, 0, sent.stderr);
});

it("--check names another gateway, and would be refused with exclusive", needs, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url));
  await using other = await temporaryHome(quickConfig(broker.url));
  await using gateway = await startGateway({ home: other.path });
  await gateway.said("gateway started");
  const instance = await instanceOf(other.path);
  const line = new RegExp(
    `^warn {2}gateway\\.others +gateways of mqtt: every request is answered twice, also by the gateway ${instance} on .*try: stop one`,
    "m",
  );
  const before = await check(home.path);
  assert.equal(before.code, 0, before.stderr);
  assert.match(before.stdout, line);
  // Its own home knows it.
  assert.doesNotMatch((await check(other.path)).stdout, /gateways of mqtt/);

  await using second = await startGateway({ home: home.path });
  await Promise.all([gateway.said(ANOTHER), second.said(ANOTHER)]);
  await until("its own home is told as well", async () =>
    /gateways of mqtt: every request is answered twice/.test((await check(other.path)).stdout),
  );
  second.kill("SIGTERM");
  await second.ended;
  await writeConfig(home.path, quickConfig(broker.url, {}, { gateway: { exclusive: true } }));
  const exclusive = await check(home.path);
  assert.equal(exclusive.code, 5);
  assert.match(exclusive.stdout, /^fail {2}gateway\.others +gateways of mqtt/m);
  assert.match(exclusive.stderr, /another gateway serves the agent assistant/);
  gateway.kill("SIGTERM");
  await gateway.ended;
  const after = await check(home.path);
  assert.equal(after.code, 0, after.stderr);
  assert.doesNotMatch(after.stdout, /gateways of mqtt/);
});

it("gateways with one client id say so, and so does --check", needs, async () => {
  await using broker = await startMosquitto();
  const config = quickConfig(broker.url, { client_id: "same", protocol_version: 4 });
  await using home = await temporaryHome(config);
  await using other = await temporaryHome(config);
  await using one = await startGateway({ home: home.path });
  await using two = await startGateway({ home: other.path });
  const conflict =
    /"why":"many brokers do so when another program connects with the same client id/;
  await until(
    "both say so",
    () => [one, two].every(({ stderr }) => conflict.test(stderr())),
    50_000,
  );
  const checked = await picoclaw(["gateway", "--check"], { home: home.path });
  assert.match(
    checked.stdout,
    /^warn {2}gateway\.client_id +client id of mqtt: another program used it, or seemed to, \d+ times.*try: stop the other/m,
  );
});
