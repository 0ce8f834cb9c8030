import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { BrokerNotes } from "../../src/mqtt/contract.ts";
import { openTestChannel, openTestDevice } from "../support/channel.ts";
import { needsMosquitto, startMosquitto, type Mosquitto, withAcl } from "../support/mosquitto.ts";
import { fakeBroker, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

/** Bun ends a test after 5 s unless told otherwise. */
const slow = { ...needsMosquitto, timeout: 60_000 };
const OPEN = ["listener {port} 127.0.0.1", "allow_anonymous true", "sys_interval 1"];
const DROPPED = "$SYS/broker/publish/messages/dropped";
const settings = { client_id: "fixed", qos: 1 } as const;
const SAYS = /dropped messages.*requests to us may be among them/;

function openNotes(): BrokerNotes & { readonly totals: ReadonlyMap<string, number> } {
  const totals = new Map<string, number>();
  return {
    read: () => undefined,
    write: () => {},
    dropped: (broker) => totals.get(broker),
    noteDropped: (broker, total) => void totals.set(broker, total),
    totals,
  };
}

/** A channel that looks at the broker's counter at once. */
function open(broker: string, brokerNotes?: BrokerNotes) {
  return openTestChannel(broker, { settings, lookMs: 10, reconnectMs: 50, brokerNotes });
}

/** Resolves when the broker has acknowledged all of them. */
async function ask(broker: Mosquitto, count: number, qos: 1 | 2 = 1): Promise<void> {
  await using device = await openTestDevice(broker.url, "/picoclaw/nothing");
  const each = Array.from({ length: count }, (_, index) =>
    device.client.publishAsync(`/picoclaw/edge/c${index % 50}/request`, '{"text":"hi"}', { qos }),
  );
  await Promise.all(each);
}

describe("what a broker drops from a full queue", () => {
  it("of 2,000 requests to a stopped gateway is told at its next start", slow, async () => {
    await using broker = await startMosquitto({ lines: OPEN });
    const notes = openNotes();
    const first = open(broker.url, notes);
    await first.ready();
    await until("the counter is known", () => notes.totals.get(broker.url) === 0);
    await first.channel.close();
    await ask(broker, 2_000);
    await using second = open(broker.url, notes);
    await until("told", () => SAYS.test(second.log.text()));
    // On a busy machine the broker counts them in more than one go, and the others come late.
    await until("all that was dropped is known", () => second.channel.messagesDropped() === 1_000);
    await until("the others have come", () => second.requests.length === 1_000);
    const line = second.log.lines.find(({ message }) => SAYS.test(message));
    assert.equal(line?.level, "warn");
    const { dropped, waited = 1, broker: named } = line.fields;
    for (const count of [dropped, waited]) {
      assert.ok(Number(count) > 0 && Number(count) <= 1_000, JSON.stringify(line.fields));
    }
    assert.equal(named, broker.url);
    assert.match(String(line.fields["try"]), /delivery\.md/);
    assert.equal(notes.totals.get(broker.url), 1_000);
    assert.match(broker.log(), /being dropped for client fixed/);
  });

  it("is told while the gateway is connected", slow, async () => {
    await using broker = await startMosquitto({ lines: [...OPEN, "max_queued_messages 5"] });
    const notes = openNotes();
    await using asked = open(broker.url, notes);
    await until("the counter is known", () => notes.totals.get(broker.url) === 0);
    // Of another client: the counter does not tell whose queue was full.
    await using other = await openTestDevice(broker.url, "/picoclaw/edge/+/request", {
      clientId: "other",
      clean: false,
      properties: { sessionExpiryInterval: 60 },
    });
    await other.client.endAsync();
    await ask(broker, 10);
    await until("told", () => SAYS.test(asked.log.text()));
  });

  it("is suspected where as many requests waited as a queue holds by default", slow, async () => {
    // This list hides the counter.
    await using broker = await startMosquitto(withAcl("topic readwrite /picoclaw/#"));
    const first = open(broker.url);
    await first.ready();
    await first.channel.close();
    await ask(broker, 1_200);
    await using second = open(broker.url);
    await until("told", () => second.log.text().includes("as a broker's queue holds by default"));
    assert.equal(second.requests.length, 1_000);
  });

  it("is not told where the queue is large enough", slow, async () => {
    const lines = [...OPEN, "max_queued_messages 100000"];
    await using broker = await startMosquitto({ lines });
    const notes = openNotes();
    const first = open(broker.url, notes);
    await until("the counter is known", () => notes.totals.get(broker.url) === 0);
    await first.channel.close();
    await ask(broker, 2_000);
    await using second = open(broker.url, notes);
    await second.request(1_999);
    await until("subscribed", () => subscriptions(broker) === 2);
    assert.doesNotMatch(second.log.text(), /dropped messages|by default/);
  });
});

/** mosquitto's access list cannot refuse a subscription; its plugin can. */
const REFUSING = {
  lines: [
    ...OPEN,
    "plugin /usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so",
    "plugin_opt_config_file {folder}/rights.json",
  ],
  files: {
    "rights.json": JSON.stringify({
      defaultACLAccess: { publishClientSend: true, publishClientReceive: true, subscribe: false },
      roles: [
        {
          rolename: "own",
          acls: [{ acltype: "subscribePattern", topic: "/picoclaw/#", allow: true }],
        },
      ],
      groups: [{ groupname: "anyone", roles: [{ rolename: "own" }] }],
      anonymousGroup: "anyone",
    }),
  },
};

const subscriptions = (broker: Mosquitto): number =>
  broker.log().split(`${DROPPED} (QoS`).length - 1;

describe("the broker's counter", () => {
  it("is asked for once where it is refused", slow, async () => {
    await using broker = await startMosquitto(REFUSING);
    await using asked = open(broker.url);
    await until("refused", () => asked.log.text().includes("does not tell what it drops"));
    assert.equal(subscriptions(broker), 1);
    await broker.kill();
    await broker.start();
    await until("again", () => asked.log.text().split("info connected").length === 3);
    await ask(broker, 10);
    await asked.request(9);
    assert.equal(subscriptions(broker), 1);
    assert.equal(asked.channel.problem(), undefined);
  });

  it("is not asked for at QoS 0, on 3.1.1, and of other brokers", slow, async () => {
    await using broker = await startMosquitto({ lines: OPEN });
    const filters: string[] = [];
    await using other = await fakeBroker((packet, socket) => {
      if (packet.type === 8) filters.push(packet.bytes.toString("latin1"));
      politeOn5(packet, socket);
    });
    const old = { ...settings, client_id: "old", protocol_version: 4 } as const;
    const quietly = [
      openTestChannel(broker.url, { lookMs: 0 }),
      openTestChannel(broker.url, { settings: old, lookMs: 0 }),
      openTestChannel(other.url, { settings, lookMs: 0 }),
    ];
    await Promise.all(quietly.map((asked) => asked.ready()));
    await using last = open(broker.url);
    await until("the last asks", () => subscriptions(broker) > 0);
    assert.equal(subscriptions(broker), 1);
    assert.ok(filters.length > 0 && !filters.some((filter) => filter.includes("$SYS")));
    for (const asked of quietly) await asked.channel.close();
    await last.ready();
  });
});
