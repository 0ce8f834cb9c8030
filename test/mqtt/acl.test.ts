import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "../../src/base/secret.ts";
import { accessList, type AclBroker, type AclFacts } from "../../src/mqtt/acl/acl.ts";
import { NO_TOOL_TOPICS } from "../../src/mqtt/acl/rights.ts";
import { channelFor } from "../support/channel.ts";
import { emqxRules } from "../support/checking-broker.ts";

const A2A = {
  enabled: true,
  org: "acme",
  unit: "home",
  agent: "",
  name: "",
  description: "",
  verified_requesters: false,
};
const MCP = { enabled: true, server_id: "", server_name: "", description: "" };
const HOME_ASSISTANT = { enabled: true, discovery_prefix: "ha" };
const TOOLS = {
  findsDevices: true,
  read: ["zigbee2mqtt/#", "tele/+/STATE"],
  publish: ["zigbee2mqtt/kitchen lamp/set"],
  retains: false,
  watched: ["sensors/+/door"],
  asked: ["garden/agent:edge:kitchen", "+/+"],
  requesters: ["planner"],
  isUnbounded: false,
};

function factsOf(more: Partial<AclFacts> = {}, settings: object = {}): AclFacts {
  const parts = { a2a: A2A, mcp: MCP, homeassistant: HOME_ASSISTANT, ...settings };
  const channel = channelFor("tcp://h", { username: new Secret("gw"), ...parts });
  return { settings: channel.settings, gateway: "gw", by: "user", tools: TOOLS, ...more };
}

/** The lists of mosquitto and VerneMQ: `who access topic`. */
function linesIn(list: string): readonly string[] {
  let user = "";
  return list.split("\n").flatMap((line) => {
    const [, kind = "", rest = ""] = /^(user|topic|pattern) (.+)$/.exec(line) ?? [];
    if (kind === "user") user = rest;
    if (kind === "" || kind === "user") return [];
    const [, access = "", topic = ""] = /^(\w+) (.+)$/.exec(rest) ?? [];
    const each = access === "readwrite" ? ["read", "write"] : [access];
    return each.map((one) => `${kind === "pattern" ? "all" : user} ${one} ${topic}`);
  });
}

function rulesIn(list: string): readonly string[] {
  return emqxRules(list).flatMap(({ user = "all", action, topics }) => {
    const access = action === "publish" ? "write" : "read";
    return topics.map((topic) => `${user} ${access} ${topic}`);
  });
}

const ROLES: Readonly<Record<string, string>> = {
  "picoclaw-gateway": "gw",
  "picoclaw-device": "all",
  "picoclaw-home-assistant": "homeassistant",
  "picoclaw-a2a-requester": "planner",
};

function permissionsIn(list: string): readonly string[] {
  return list.split("<role>").flatMap((role) => {
    const [, id = ""] = /<id>(.+)<\/id>/.exec(role) ?? [];
    const who = ROLES[id];
    const each = [...role.matchAll(/<topic>(.+)<\/topic>\s+<activity>(\w+)</g)];
    return each.flatMap(([, topic = "", activity]) => {
      if (who === undefined) return [];
      const access = { PUBLISH: ["write"], SUBSCRIBE: ["read"] }[activity ?? ""];
      return (access ?? ["read", "write"]).map((one) => `${who} ${one} ${topic}`);
    });
  });
}

/** The rights that a list gives, with `{own}` for the name of a client; without what only one broker has. */
function rightsIn(broker: AclBroker, facts: AclFacts): ReadonlySet<string> {
  const list = accessList(broker, facts);
  const read = { mosquitto: linesIn, vernemq: linesIn, emqx: rulesIn, hivemq: permissionsIn };
  const rights = read[broker](list)
    .filter((right) => !right.includes("$SYS"))
    .map((right) => right.replace(/%[uc]|\$\{\{?(username|clientid)\}\}?/, "{own}"));
  return new Set(rights);
}

const EXPECTED = [
  "all write /picoclaw/edge/{own}/request",
  "all read /picoclaw/edge/{own}/response",
  "all read /picoclaw/edge/status",
  "all read /picoclaw/edge/info",
  "gw read /picoclaw/edge/+/request",
  "gw write /picoclaw/edge/+/response",
  "gw write /picoclaw/edge/status",
  "gw write /picoclaw/edge/info",
  // Home Assistant
  "gw write ha/device/picoclaw_edge/config",
  "gw read homeassistant/status",
  "homeassistant write /picoclaw/edge/homeassistant/request",
  "homeassistant read /picoclaw/edge/homeassistant/response",
  "homeassistant write homeassistant/status",
  "homeassistant read ha/#",
  "homeassistant write ha/#",
  // devices
  "gw read ha/+/+/config",
  "gw read ha/+/+/+/config",
  "gw read tasmota/discovery/+/config",
  "gw read tasmota/discovery/+/sensors",
  "gw read zigbee2mqtt/#",
  "gw read tele/+/STATE",
  "gw write zigbee2mqtt/kitchen lamp/set",
  "gw read sensors/+/door",
  // ask_agent
  "gw read /picoclaw/+/status",
  "gw read /picoclaw/+/info",
  "gw write /picoclaw/garden/agent:edge:kitchen/request",
  "gw read /picoclaw/garden/agent:edge:kitchen/response",
  "gw write /picoclaw/+/+/request",
  "gw read /picoclaw/+/+/response",
  // A2A
  "gw write $a2a/v1/discovery/acme/home/edge",
  "gw read $a2a/v1/discovery/acme/home/edge",
  "gw read $a2a/v1/request/acme/home/edge",
  "gw write $a2a/v1/reply/acme/home/#",
  "planner write $a2a/v1/request/acme/home/edge",
  "planner read $a2a/v1/reply/acme/home/planner/#",
  "planner read $a2a/v1/discovery/acme/home/+",
  // MCP
  "gw write $mcp-server/presence/picoclaw-mcp-edge/picoclaw/edge",
  "gw read $mcp-server/picoclaw-mcp-edge/picoclaw/edge",
  "gw read $mcp-client/presence/+",
  "gw read $mcp-rpc/+/picoclaw-mcp-edge/picoclaw/edge",
  "gw write $mcp-rpc/+/picoclaw-mcp-edge/picoclaw/edge",
  "all write $mcp-server/picoclaw-mcp-edge/picoclaw/edge",
  "all write $mcp-client/presence/{own}",
  "all read $mcp-rpc/{own}/picoclaw-mcp-edge/picoclaw/edge",
  "all write $mcp-rpc/{own}/picoclaw-mcp-edge/picoclaw/edge",
  "all read $mcp-server/presence/#",
].toSorted();

describe("an access list", () => {
  for (const broker of ["mosquitto", "vernemq", "emqx"] as const) {
    for (const by of ["user", "client"] as const) {
      it(`gives exactly what is configured: ${broker} by ${by}`, () => {
        const found = rightsIn(broker, factsOf({ by }));
        assert.deepEqual([...found].toSorted(), EXPECTED);
      });
    }
  }

  it("gives exactly what is configured: hivemq", () => {
    const own = EXPECTED.map((right) => right.replace("/planner/#", "/{own}/#"));
    // Nobody has the rights of everyone there but by a role.
    const everyone = ["gw", "homeassistant", "planner"].flatMap((who) =>
      ["status", "info"].map((kind) => `${who} read /picoclaw/edge/${kind}`),
    );
    const found = rightsIn("hivemq", factsOf());
    assert.deepEqual([...found].toSorted(), [...own, ...everyone].toSorted());
  });

  it("gives nothing for what is off", () => {
    const off = { homeassistant: { ...HOME_ASSISTANT, enabled: false } };
    const facts = factsOf(
      { tools: NO_TOOL_TOPICS },
      { ...off, a2a: { ...A2A, enabled: false }, mcp: { ...MCP, enabled: false } },
    );
    const found = rightsIn("mosquitto", facts);
    assert.deepEqual(
      [...found].toSorted(),
      EXPECTED.filter((right) => / \/picoclaw\/edge\/(?!home)/.test(right)),
    );
  });

  it("has a template for A2A requesters that no profile names", () => {
    for (const broker of ["mosquitto", "vernemq", "emqx"] as const) {
      const facts = factsOf({ tools: { ...TOOLS, requesters: [] } });
      assert.ok(![...rightsIn(broker, facts)].some((right) => right.startsWith("planner")), broker);
      assert.match(accessList(broker, facts), /^(#|%%) .*write its user.* REQUESTER/m);
      assert.match(accessList(broker, facts), /^(#|%%) .*reply\/acme\/home\/REQUESTER\/#/m);
    }
  });

  it("says what it cannot give", () => {
    const all = factsOf({ tools: { ...TOOLS, read: ["#"], isUnbounded: true } });
    assert.match(
      accessList("mosquitto", all),
      /^# A profile lets clients read or publish everything/m,
    );
    assert.match(accessList("mosquitto", all), /^# tools.exec.allow_remote gives/m);
    assert.match(accessList("mosquitto", factsOf({ by: "client" })), /^# That line makes each/m);
    assert.doesNotMatch(
      accessList("mosquitto", factsOf()),
      /everything: the list|allow_remote|That line/,
    );
  });

  it("refuses topics that a broker would read in its own way", () => {
    for (const topic of ["a\nuser x", 'a"b', " a", "a ", "a/%u", "a/${x}", "x$y", "a\tb", "a,b"]) {
      const facts = factsOf({ tools: { ...TOOLS, watched: [topic] } });
      assert.throws(() => accessList("emqx", facts), /cannot be written/, topic);
    }
    for (const topic of ["$SYS/#", "$a2a/v1/#", "Wohnzimmer/große lampe/+", "a/#"]) {
      accessList("emqx", factsOf({ tools: { ...TOOLS, watched: [topic] } }));
    }
  });
});
