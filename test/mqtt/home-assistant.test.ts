import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "../../src/base/secret.ts";
import { at, isObject } from "../../src/base/unknown.ts";
import { accessList, ACL_BROKERS } from "../../src/mqtt/acl/acl.ts";
import { NO_TOOL_TOPICS } from "../../src/mqtt/acl/rights.ts";
import { discoveryPayload } from "../../src/mqtt/agent-channel/home-assistant.ts";
import type { AgentUsage, DiscoveryNotes } from "../../src/mqtt/contract.ts";
import { discoveryTopic } from "../../src/mqtt/protocol/discovery.ts";
import { answering, channelFor, openTestChannel, openTestDevice } from "../support/channel.ts";
import { openTestClusterChannel } from "../support/cluster-channel.ts";
import { needsMosquitto, startMosquitto, withAcl } from "../support/mosquitto.ts";
import { fakeBroker, polite } from "../support/packets.ts";
import { until } from "../support/until.ts";

const ON = { homeassistant: { enabled: true, discovery_prefix: "homeassistant" } };
const OFF = { homeassistant: { enabled: false, discovery_prefix: "homeassistant" } };
const TOPIC = "homeassistant/device/picoclaw_edge/config";
const REQUEST = "/picoclaw/edge/homeassistant/request";
const RESPONSE = "/picoclaw/edge/homeassistant/response";

const settingsOf = (more: object = {}) => channelFor("tcp://h", { ...ON, ...more }).settings;

const topicOf = (more: object): string => discoveryTopic(settingsOf(more));

/** Notes as a file would keep them. */
function openNotes(first?: string): DiscoveryNotes {
  let noted = first;
  return {
    read: () => noted,
    write(topic) {
      noted = topic;
    },
  };
}

type Rendered = (value: string) => unknown;

/** A template of Home Assistant that fills a JSON object, by the expressions that it has. */
function rendered(template: unknown, value: string, known: Readonly<Record<string, Rendered>>) {
  assert.ok(typeof template === "string");
  const text = template.replaceAll(/\{\{ (.+?) \}\}/g, (_, expression: string) => {
    const render = known[expression];
    assert.ok(render, expression);
    return String(render(value));
  });
  return JSON.parse(text);
}

const ask = (payload: unknown, value: string): string =>
  JSON.stringify(
    rendered(at(at(at(payload, "cmps"), "ask"), "cmd_tpl"), value, {
      "value | tojson": (text) => JSON.stringify(text),
    }),
  );

const eventOf = (payload: unknown, answer: string) =>
  rendered(at(at(at(payload, "cmps"), "answer"), "val_tpl"), answer, {
    "'error' if value_json.error is defined else 'answer' if value_json.push is not defined else 'confirm' if value_json.id.startswith('confirm-') else 'push'":
      (text) => {
        const { error, push, id } = JSON.parse(text);
        if (error !== undefined) return "error";
        if (push === undefined) return "answer";
        return id.startsWith("confirm-") ? "confirm" : "push";
      },
    "value_json.id | default(none) | tojson": (text) =>
      JSON.stringify(at(JSON.parse(text), "id") ?? null),
    "value_json.text | tojson": (text) => JSON.stringify(at(JSON.parse(text), "text")),
    "(value_json.error | default({})).code | default(none) | tojson": (text) =>
      JSON.stringify(at(at(JSON.parse(text), "error"), "code") ?? null),
  });

function componentOf(name: string, usage?: AgentUsage): unknown {
  return at(at(discoveryPayload(settingsOf(), "1", usage), "cmps"), name);
}

/** The template of the tokens in a payload. */
function tokensOf(payload = "{}"): unknown {
  return at(at(at(JSON.parse(payload), "cmps"), "tokens"), "val_tpl");
}

/** The keys that Home Assistant knows, by the platform. */
const ENTITY = ["p", "uniq_id", "name", "ic", "ent_cat"];
const KEYS: Readonly<Record<string, readonly string[]>> = {
  notify: ["cmd_t", "cmd_tpl"],
  text: ["cmd_t", "cmd_tpl", "min", "max"],
  event: ["stat_t", "evt_typ", "val_tpl"],
  sensor: ["stat_t", "val_tpl", "json_attr_t", "stat_cla", "unit_of_meas"],
  button: ["cmd_t", "pl_prs"],
  update: ["stat_t", "val_tpl"],
};

describe("the device in Home Assistant", () => {
  it("has what Home Assistant requires, and no key that it does not know", () => {
    const usage = { tokens: 1234, cost: 0.5 };
    const payload = discoveryPayload(settingsOf({ qos: 1 }), "1.2.3", usage);
    assert.deepEqual(Object.keys(payload), ["dev", "o", "avty_t", "qos", "cmps"]);
    assert.deepEqual(at(payload, "dev"), {
      ids: ["picoclaw_edge"],
      name: "picoclaw edge",
      mf: "picoclaw",
      mdl: "AI agent",
      sw: "1.2.3",
    });
    assert.deepEqual(at(payload, "o"), { name: "picoclaw", sw: "1.2.3" });
    assert.deepEqual([at(payload, "avty_t"), at(payload, "qos")], ["/picoclaw/edge/status", 1]);
    const components = at(payload, "cmps");
    assert.ok(isObject(components));
    const ids = new Set<unknown>();
    for (const component of Object.values(components)) {
      assert.ok(isObject(component));
      const known = new Set([...ENTITY, ...(KEYS[String(component["p"])] ?? [])]);
      assert.deepEqual(
        Object.keys(component).filter((key) => !known.has(key)),
        [],
      );
      ids.add(component["uniq_id"]);
    }
    assert.equal(ids.size, Object.keys(components).length);
    assert.equal(ids.has(undefined), false);
    assert.deepEqual(
      Object.values(components).map((component) => at(component, "p")),
      ["notify", "text", "event", "sensor", "sensor", "sensor", "sensor", "button", "update"],
    );
    assert.deepEqual(JSON.parse(String(at(at(components, "stop"), "pl_prs"))), {
      text: "/stop",
      stream: false,
    });
    assert.equal(
      at(at(components, "ask"), "cmd_tpl"),
      '{"text": {{ value | tojson }}, "stream": false}',
    );
  });

  it("asks for JSON where the channel's answers are plain text", () => {
    const forClients = { clients: [{ pattern: "home*", accept: "text/plain" as const }] };
    for (const settings of [{ accept: "text/plain" as const }, forClients]) {
      const payload = discoveryPayload(settingsOf(settings), "1");
      const asked = JSON.parse(ask(payload, "hi"));
      assert.deepEqual(asked, { text: "hi", stream: false, accept: "application/json" });
    }
  });

  it("has a topic of its own for each agent, of characters that Home Assistant takes", () => {
    assert.equal(topicOf({}), TOPIC);
    const agents = ["a.b", "a:b", "a/b", "a_b", "küche 1", "a.b".repeat(9), "a".repeat(300)];
    const topics = agents.map((agent_id) => topicOf({ agent_id }));
    topics.push(topicOf({ agent_id: "a_b", topic_prefix: "x" }));
    assert.equal(new Set(topics).size, topics.length);
    for (const topic of topics) {
      assert.match(topic, /^homeassistant\/device\/[a-zA-Z0-9_-]{1,90}\/config$/);
    }
    const homeassistant = { enabled: true, discovery_prefix: "ha/dev" };
    assert.equal(topicOf({ homeassistant }), "ha/dev/device/picoclaw_edge/config");
  });

  it("has no entities for the usage of a model without one, and none for a cost without prices", () => {
    // What Home Assistant takes for a removal.
    for (const name of ["tokens", "cost"]) assert.deepEqual(componentOf(name), { p: "sensor" });
    assert.equal(at(componentOf("tokens", { tokens: 0 }), "uniq_id"), "picoclaw_edge_tokens");
    assert.deepEqual(componentOf("cost", { tokens: 0 }), { p: "sensor" });
  });

  it("tells the usage of the model in info when it has changed", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    let usage: AgentUsage | undefined;
    const info = { version: "1", instance: "here", usage: () => usage };
    await using infos = await openTestDevice(broker.url, "/picoclaw/edge/info");
    await using configs = await openTestDevice(broker.url, TOPIC);
    await using asked = openTestChannel(broker.url, { settings: ON, info, refreshMs: 50 });
    await asked.ready();
    const usageIn = (): unknown => at(JSON.parse(infos.texts().at(-1) ?? "{}"), "usage");
    await infos.message();
    assert.equal(usageIn(), undefined);
    await configs.message();
    assert.equal(tokensOf(configs.texts()[0]), undefined);
    usage = { tokens: 5 };
    await until("a model answers", () => at(usageIn(), "tokens") === 5);
    await configs.message(1);
    assert.match(String(tokensOf(configs.texts()[1])), /value_json\.usage/);
    usage = { tokens: 7, cost: 0 };
    await until("the usage has changed", () => at(usageIn(), "tokens") === 7);
    await configs.message(2);
    const count = infos.messages.length;
    usage = { tokens: 7, cost: 0.25 };
    await until("the cost has changed", () => at(usageIn(), "cost") === 0.25);
    assert.equal(infos.messages.length, count + 1, "once for a change");
    assert.equal(configs.messages.length, 3, "the same entities");
  });

  it("tells no usage where it is off", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    const info = { version: "1", instance: "here", usage: () => ({ tokens: 5 }) };
    await using infos = await openTestDevice(broker.url, "/picoclaw/edge/info");
    await using asked = openTestChannel(broker.url, { settings: OFF, info });
    await asked.ready();
    assert.equal(at(JSON.parse(String((await infos.message()).payload)), "usage"), undefined);
  });

  it("is retained, and sent again when Home Assistant has started", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, { settings: ON });
    await asked.ready();
    await using device = await openTestDevice(broker.url, "homeassistant/#");
    const first = await device.message();
    assert.deepEqual([first.topic, first.qos], [TOPIC, 1]);
    assert.deepEqual(
      JSON.parse(String(first.payload)),
      discoveryPayload(settingsOf(), "0.0.0-test"),
    );
    const configs = () => device.messages.filter(({ topic }) => topic === TOPIC);
    await device.client.publishAsync("homeassistant/status", "offline", { qos: 1 });
    await device.client.publishAsync("homeassistant/status", "online", { qos: 1 });
    await device.client.publishAsync("homeassistant/status", "online", { qos: 1 });
    await until("it is sent again", () => configs().length > 1);
    const online = device.messages.findIndex(({ payload }) => String(payload) === "online");
    assert.ok(device.messages.findLastIndex(({ topic }) => topic === TOPIC) > online);
    assert.equal(device.messages.slice(0, online).filter(({ topic }) => topic === TOPIC).length, 1);
    assert.deepEqual(configs()[1]?.payload, first.payload);
    await using later = await openTestDevice(broker.url, TOPIC);
    assert.equal((await later.message()).retain, true);
  });

  it("is asked with its notify template, and the answer is an event", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    const onRequest = answering('12 "%"');
    await using asked = openTestChannel(broker.url, { settings: ON, onRequest });
    await asked.ready();
    await using config = await openTestDevice(broker.url, TOPIC);
    const payload: unknown = JSON.parse(String((await config.message()).payload));
    await using device = await openTestDevice(broker.url, RESPONSE);
    const text = `What's "the" load\n of {{ this }}?`;
    await device.client.publishAsync(REQUEST, ask(payload, text));
    const request = await asked.request();
    assert.deepEqual(
      [request.client, request.text, request.stream],
      ["homeassistant", text, false],
    );
    const event = eventOf(payload, String((await device.message()).payload));
    assert.deepEqual(event, { event_type: "answer", text: '12 "%"', id: null, code: null });
    await device.client.publishAsync(REQUEST, '{"text": 5}');
    const last = () => eventOf(payload, String(device.messages.at(-1)?.payload));
    await until("the error is there", () => last().event_type === "error");
    assert.equal(last().code, "bad_request");
  });

  it("hears what the agent begins, and questions about calls, as events of their own", () => {
    const payload = discoveryPayload(settingsOf(), "1");
    const push = { text: "May it?", push: true, seq: 0, done: true };
    const question = eventOf(payload, JSON.stringify({ ...push, id: "confirm-k7m2qp" }));
    assert.deepEqual(question, {
      event_type: "confirm",
      text: "May it?",
      id: "confirm-k7m2qp",
      code: null,
    });
    const reminder = eventOf(payload, JSON.stringify({ ...push, id: "job-1-7" }));
    assert.equal(reminder.event_type, "push");
    const types = at(componentOf("answer"), "evt_typ");
    assert.deepEqual(types, ["answer", "error", "push", "confirm"]);
  });

  it("is removed when it is switched off, once", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    const discoveryNotes = openNotes();
    const open = (settings: object) => openTestChannel(broker.url, { settings, discoveryNotes });
    const on = open(ON);
    await on.ready();
    await until("noted", () => discoveryNotes.read() === TOPIC);
    await using device = await openTestDevice(broker.url, "homeassistant/#");
    await device.message();
    await on.channel.close();
    const off = open(OFF);
    await off.ready();
    await device.message(1);
    assert.deepEqual(device.texts().slice(1), [""]);
    await until("the note is gone", () => discoveryNotes.read() === undefined);
    await off.channel.close();
    await using later = await openTestDevice(broker.url, "homeassistant/#");
    await later.client.publishAsync("homeassistant/end", "end", { qos: 1 });
    assert.equal((await later.message()).topic, "homeassistant/end");
  });

  it("is removed where the agent had another name", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    const discoveryNotes = openNotes("homeassistant/device/picoclaw_old/config");
    await using device = await openTestDevice(broker.url, "homeassistant/#");
    await using asked = openTestChannel(broker.url, { settings: ON, discoveryNotes });
    await asked.ready();
    await device.message(1);
    assert.deepEqual(
      device.messages.map(({ topic, payload }) => [topic, payload.length > 0]),
      [
        ["homeassistant/device/picoclaw_old/config", false],
        [TOPIC, true],
      ],
    );
    assert.equal(discoveryNotes.read(), TOPIC);
  });

  it("is no subject to who has it off and never had it on", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using device = await openTestDevice(broker.url, "homeassistant/#");
    await using asked = openTestChannel(broker.url, { settings: OFF, discoveryNotes: openNotes() });
    await asked.ready();
    await using info = await openTestDevice(broker.url, "/picoclaw/edge/info");
    await info.message();
    await device.client.publishAsync("homeassistant/end", "end", { qos: 1 });
    assert.equal((await device.message()).topic, "homeassistant/end");
    assert.doesNotMatch(broker.log(), /homeassistant\/status/);
  });

  it("is published by the one gateway of a cluster that hears", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using device = await openTestDevice(broker.url, "homeassistant/#");
    const discoveryNotes = openNotes();
    await using one = openTestClusterChannel(broker.url, { settings: ON });
    await using two = openTestClusterChannel(broker.url, { settings: ON, discoveryNotes });
    await until("its voice is connected", () => two.lease.canHear());
    await one.hear();
    await device.message();
    await device.client.publishAsync("homeassistant/end", "end", { qos: 1 });
    await device.message(1);
    assert.deepEqual(
      device.messages.map(({ topic }) => topic),
      [TOPIC, "homeassistant/end"],
    );
    // So that it can remove the device when it hears one day.
    assert.equal(discoveryNotes.read(), TOPIC);
  });

  it(
    "does not keep a gateway from serving where the broker refuses it",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto(withAcl("topic readwrite /picoclaw/#"));
      await using asked = openTestChannel(broker.url, { settings: ON });
      await asked.ready();
      await until("it is told", () =>
        asked.log.text().includes("could not be published as a device"),
      );
      assert.equal(asked.channel.problem(), undefined);
    },
  );

  it("that cannot be removed is said to be so", needsMosquitto, async () => {
    await using broker = await startMosquitto(withAcl("topic readwrite /picoclaw/#"));
    const discoveryNotes = openNotes();
    discoveryNotes.write(TOPIC);
    await using asked = openTestChannel(broker.url, { settings: OFF, discoveryNotes });
    await asked.ready();
    await until("it is said", () => asked.log.text().includes("could not be removed"));
    assert.equal(discoveryNotes.read(), TOPIC);
  });

  it("is given up where the broker ends the connection for it", async () => {
    const cuts: number[] = [];
    await using broker = await fakeBroker((packet, socket, connection) => {
      const isAsked = packet.type === 8 && packet.bytes.includes("homeassistant/status");
      if (!isAsked) return polite(packet, socket);
      cuts.push(connection);
      socket.destroy();
    });
    const settings = { ...ON, protocol_version: 4 } as const;
    await using asked = openTestChannel(broker.url, { settings, reconnectMs: 10 });
    await asked.ready();
    const connected = () => asked.log.text().split("info connected").length - 1;
    await until("it serves", () => connected() === 3);
    assert.match(asked.log.text(), /could not be published as a device/);
    assert.deepEqual(cuts, [1, 2]);
  });
});

describe("the access list for Home Assistant", () => {
  const facts = { gateway: "gw", by: "user", tools: NO_TOOL_TOPICS } as const;
  const settings = settingsOf();

  it("has its lines only where it is on", () => {
    for (const broker of ACL_BROKERS) {
      assert.doesNotMatch(
        accessList(broker, { ...facts, settings: settingsOf(OFF) }),
        /homeassistant|home-assistant/,
      );
      const list = accessList(broker, { ...facts, settings });
      for (const topic of [TOPIC, "homeassistant/status", "homeassistant/#", REQUEST, RESPONSE]) {
        assert.ok(list.includes(topic), `${broker} ${topic}`);
      }
    }
  });

  it("lets mosquitto serve both, and no device its topics", needsMosquitto, async () => {
    const list = accessList("mosquitto", { ...facts, settings });
    await using broker = await startMosquitto(withAcl(list));
    const own = { ...ON, username: new Secret("gw") };
    await using asked = openTestChannel(broker.url, { settings: own, onRequest: answering("yes") });
    await asked.ready();
    const as = { username: "homeassistant" };
    await using home = await openTestDevice(broker.url, "homeassistant/#", as);
    await home.message();
    await using answers = await openTestDevice(broker.url, RESPONSE, as);
    await answers.client.publishAsync(REQUEST, '{"text": "hi", "stream": false}', { qos: 1 });
    await answers.message();
    await home.client.publishAsync("homeassistant/status", "online", { qos: 1 });
    await until("sent again", () => home.messages.length > 2);
    await using other = await openTestDevice(broker.url, "homeassistant/#", { username: "eve" });
    const forged = other.client.publishAsync(TOPIC, "", { qos: 1, retain: true });
    await assert.rejects(forged, /Not authorized/);
    assert.deepEqual(other.messages, []);
  });
});
