import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { temporaryFolder } from "../support/temporary.ts";
import { runIn } from "./host.ts";

const channel = (agent_id: string) => ({
  enabled: true,
  type: "mqtt",
  settings: { broker: "tcp://b", agent_id },
});

/** The topics of the gateway's user, without those of its channel. */
async function topicsOf(tools: object, more: object = {}, args: readonly string[] = []) {
  await using folder = await temporaryFolder();
  const channel_list = { one: channel("edge"), two: channel("other") };
  const config = { version: 3, channel_list, tools, ...more };
  await writeFile(join(folder.path, "config.json"), JSON.stringify(config));
  const { code, stdout, stderr } = await runIn(folder.path, ["acl", "mosquitto", ...args]);
  assert.equal(code, 0, stderr);
  const lines = stdout.split("\n").filter((line) => line.startsWith("topic "));
  return lines.filter((line) => !/ (\/picoclaw\/(edge|other)\/|\$SYS)/.test(line));
}

const DISCOVERY = [
  "topic read homeassistant/+/+/config",
  "topic read homeassistant/+/+/+/config",
  "topic read tasmota/discovery/+/config",
  "topic read tasmota/discovery/+/sensors",
];
const TOPICS = { read: ["zigbee2mqtt/#", "zigbee2mqtt/lamp", "tele/#"], publish: ["cmnd/#"] };

it("the access list has the topics of the profiles' tools, each once", async () => {
  const profiles = {
    panel: { tools: ["devices", "set_device"], topics: TOPICS },
    "display-*": { tools: ["devices"], topics: { read: ["tele/#", "stat/#"], publish: ["no/#"] } },
    other: { tools: ["memory"], topics: { read: ["private/#"], publish: ["private/#"] } },
  };
  assert.deepEqual(await topicsOf({ profiles }), [
    ...DISCOVERY,
    "topic read zigbee2mqtt/#",
    "topic read tele/#",
    "topic read stat/#",
    "topic write cmnd/#",
  ]);
});

it("the access list has no discovery for the tool mqtt alone", async () => {
  const profiles = { panel: { tools: ["mqtt"], topics: { read: ["a/#"], publish: [] } } };
  assert.deepEqual(await topicsOf({ profiles }), ["topic read a/#"]);
});

it("the access list has nothing for tools that are off, or that a turn profile leaves out", async () => {
  const profiles = {
    panel: { tools: ["*"], topics: TOPICS, agents: ["garden"] },
  };
  const off = ["mqtt", "devices", "set_device", "ask_agent"].map((name) => [
    name,
    { enabled: false },
  ]);
  assert.deepEqual(await topicsOf({ profiles, ...Object.fromEntries(off) }), []);
  const turn_profile = { enabled: true, tools: { mode: "custom", allow: ["device"] } };
  const agents = { defaults: { turn_profile } };
  assert.deepEqual(await topicsOf({ profiles }, { agents }), []);
  assert.equal((await topicsOf({ profiles })).length, 11);
});

it("the access list has the watches of its channel alone", async () => {
  const watch = [
    { topic: "a/+", prompt: "p", client: "c", channel: "one" },
    { topic: "a/1", prompt: "p", client: "c", channel: "one" },
    { topic: "b", prompt: "p", client: "c", channel: "two" },
  ];
  assert.deepEqual(await topicsOf({ mqtt: { watch } }), ["topic read a/+"]);
  assert.deepEqual(await topicsOf({ mqtt: { watch } }, {}, ["--channel", "two"]), ["topic read b"]);
});

const both = (levels: string): readonly string[] => [
  `topic write /picoclaw/${levels}/request`,
  `topic read /picoclaw/${levels}/response`,
];

it("the access list names the agents that are asked, and the client as which", async () => {
  const tools = ["ask_agent"];
  const listed = ["topic read /picoclaw/+/status", "topic read /picoclaw/+/info"];
  const asked = async (pattern: string, agents: readonly string[]) =>
    await topicsOf({ profiles: { [pattern]: { tools, agents } } });
  assert.deepEqual(await asked("kitchen", ["garden"]), [
    ...listed,
    ...both("garden/agent:edge:kitchen"),
  ]);
  assert.deepEqual(await asked("küche", ["garden"]), [...listed, ...both("garden/+")]);
  assert.deepEqual(await asked("panel-*", ["garden", "shed-?"]), [...listed, ...both("+/+")]);
  assert.deepEqual(await asked("kitchen", ["a/b"]), [
    ...listed,
    "topic read /picoclaw/+/+/status",
    "topic read /picoclaw/+/+/info",
    ...both("a/b/agent:edge:kitchen"),
  ]);
  assert.deepEqual(await asked("kitchen", ["+", "#", "a/#"]), []);
});

it("the access list has the A2A requesters that profiles name, as they are told apart", async () => {
  const profiles = Object.fromEntries(
    ["a2a:phone", "a2a:unverified:planner", "a2a:*", "a2a:unverified:p*", "kitchen"].map(
      (pattern) => [pattern, { tools: ["device"] }],
    ),
  );
  for (const [verified_requesters, user] of [
    [false, "planner"],
    [true, "phone"],
  ] as const) {
    await using folder = await temporaryFolder();
    const a2a = { enabled: true, org: "acme", unit: "home", verified_requesters };
    const settings = { broker: "tcp://b", agent_id: "edge", a2a };
    const channel_list = { mqtt: { enabled: true, settings } };
    const config = { version: 3, channel_list, tools: { profiles } };
    await writeFile(join(folder.path, "config.json"), JSON.stringify(config));
    const { stdout } = await runIn(folder.path, ["acl", "mosquitto"]);
    const users = [...stdout.matchAll(/^user (.+)$/gm)].map(([, name]) => name);
    assert.deepEqual(users, ["picoclaw", user]);
  }
});
