import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openTestInventory } from "../support/home/inventory.ts";
import { recordedZigbee2mqtt } from "../support/home/recorded.ts";

const NEVER = new AbortController().signal;
const { messages, commands } = await recordedZigbee2mqtt();
const configs = messages.filter(([topic]) => topic.startsWith("homeassistant/"));
const states = new Map<string, Record<string, unknown>>(
  messages.flatMap(([topic, payload]) =>
    /^zigbee2mqtt\/[^/]+$/.test(topic) ? [[topic, JSON.parse(payload)] as const] : [],
  ),
);

async function openRecorded(...answers: Parameters<typeof openTestInventory>) {
  const set = await openTestInventory(...answers);
  for (const [topic, payload] of configs) set.report(topic, payload, true);
  for (const [topic, payload] of messages) {
    if (!topic.startsWith("homeassistant/")) set.report(topic, payload);
  }
  return set;
}

type Entity = ReturnType<Awaited<ReturnType<typeof openTestInventory>>["entity"]>;

/** `state on (on|off), brightness 50 (0–100)` */
function textOf(entity: Entity): string {
  const settings = new Map(entity.settings().map((one) => [one.name, one]));
  const all = new Set([...entity.readings().map(({ name }) => name), ...settings.keys()]);
  return [...all]
    .map((name) => {
      const value = entity.readings().find((one) => one.name === name)?.value;
      const { words = [], range } = settings.get(name) ?? {};
      const possible = range === undefined ? words.join("|") : `${range.min}–${range.max}`;
      return [name, value, possible === "" ? "" : `(${possible})`].filter(Boolean).join(" ");
    })
    .join(", ");
}

const EFFECTS = "blink|breathe|okay|channel_change|finish_effect|stop_effect";

/** Names, states, and in brackets what can be set. */
const EXPECTED = [
  ["garden plug", "switch", "state on (on|off)"],
  ["stairs switch Left", "switch", "state on (on|off)"],
  [
    "kitchen lamp",
    "light",
    `state on (on|off), brightness 50 (0–100), color_temperature 2841 (2203–4000), effect (${EFFECTS})`,
  ],
  [
    "desk lamp",
    "light",
    `state on (on|off), brightness 50 (0–100), color_temperature 3058 (2000–6535), color #ffd18c, effect (${EFFECTS}|colorloop|stop_colorloop)`,
  ],
  [
    "bedroom light strip L2",
    "light",
    "state on (on|off), brightness 50 (0–100), color_temperature 3817 (2703–6535)",
  ],
  ["living room curtain", "cover", "state open (open|closed|stopped), position 50 (0–100)"],
  [
    "bathroom radiator",
    "climate",
    "temperature 17.5 (5–30), mode off (off|auto|heat), action idle, current temperature 21.5",
  ],
  [
    "study radiator",
    "climate",
    "temperature 20 (5–35), mode heat (heat|auto|off), preset schedule (schedule|manual|boost|complex|comfort|eco|away), action idle, current temperature 21.5",
  ],
  [
    "attic air conditioner",
    "climate",
    "temperature_low 19 (8–30), temperature_high 19 (8–30), mode off (off|heat|cool|auto|dry|fan_only), current temperature 21.5",
  ],
  ["attic air conditioner", "fan", "state on (on|off), speed 33 (0–100), preset (on|auto)"],
  ["ceiling fan", "fan", "state on (on|off), speed 25 (0–100), preset (smart)"],
  ["front door", "lock", "state locked (locked|unlocked)"],
  ["alarm siren", "siren", "state (on|off)"],
  ["window contact", "binary_sensor", "state open"],
  ["washer leak Moisture", "binary_sensor", "state wet"],
  ["hallway motion Occupancy", "binary_sensor", "state detected"],
  ["cellar climate Temperature", "sensor", "state 21.5"],
  ["wall switch Backlight mode", "select", "value off (off|normal|inverted)"],
] as const;

describe("what zigbee2mqtt announces", () => {
  it("is listed whole, but for the events of buttons", async () => {
    using set = await openRecorded();
    const ids = configs.map(([topic]) => topic.split("/").slice(1, -1).join("/"));
    const listed = new Set(set.entities().map(({ id }) => id));
    const missing = ids.filter((id) => !listed.has(id));
    assert.ok(ids.length > 130, String(ids.length));
    assert.ok(
      missing.every((id) => id.startsWith("device_automation/")),
      missing.join(),
    );
  });

  it("has a state wherever the device has reported one", async () => {
    using set = await openRecorded();
    const unread = configs.flatMap(([topic, payload]) => {
      const config = JSON.parse(payload);
      const key = /\["(\w+)"\]/.exec(String(config.value_template))?.[1];
      const reported = states.get(config.state_topic)?.[key ?? "state"];
      if (reported === undefined || reported === null || topic.includes("/device_automation/"))
        return [];
      const entity = set.entity(topic.split("/").slice(1, -1).join("/"));
      return entity.readings()[0]?.value === undefined ? [entity.id] : [];
    });
    assert.deepEqual(unread, []);
  });

  for (const [name, kind, expected] of EXPECTED) {
    it(`${name} is a ${kind} with what it can do`, async () => {
      using set = await openRecorded();
      const entity = set.entities().find((one) => one.name === name && one.kind === kind);
      assert.equal(entity && textOf(entity), expected);
      assert.equal(entity?.isOnline(), true);
    });
  }

  it("says which devices are online, and what their batteries and links are", async () => {
    using set = await openRecorded();
    set.report("zigbee2mqtt/kitchen lamp/availability", { state: "offline" });
    const away = set.entities().filter((entity) => entity.isOnline() === false);
    assert.deepEqual([...new Set(away.map(({ device }) => device))], ["kitchen lamp"]);
    const batteries = set.entities().filter(({ deviceClass }) => deviceClass === "battery");
    assert.ok(batteries.length >= 10, String(batteries.length));
    assert.ok(batteries.every((entity) => entity.readings()[0]?.value !== undefined));
    const links = set.entities().filter(({ name }) => /linkquality$/i.test(name));
    assert.deepEqual(
      links.map((entity) => entity.readings()[0]?.value),
      [92, 92],
    );
  });
});

describe("commands that zigbee2mqtt has understood", () => {
  it("are those that are published, and are confirmed by what it then reports", async () => {
    const now = new Map(states);
    let changes: Record<string, unknown> = {};
    using set = await openRecorded(({ topic }) => {
      const device = /^zigbee2mqtt\/[^/]+/.exec(topic)?.[0] ?? "";
      now.set(device, { ...now.get(device), ...changes });
      set.report(device, now.get(device) ?? {});
    });
    const problems: string[] = [];
    let confirmed = 0;
    for (const { id, name, value, messages: expected, changes: after } of commands) {
      changes = after;
      set.published.length = 0;
      const entity = set.entity(id);
      // A motor reports where it is later; what is not reported, or on another topic, is not waited for here.
      const isElsewhere = id.startsWith("cover/") || id.endsWith("/light_l1");
      const isReported = Object.keys(after).length > 0 && !isElsewhere;
      const signal = isReported ? NEVER : AbortSignal.timeout(20);
      const outcome = await entity.set({ [name]: value }, signal).catch(() => undefined);
      const sent = set.published.map(({ topic, payload }) => [topic, payload]);
      assert.deepEqual(sent, expected, `${id} ${name} ${value}`);
      if (outcome?.isConfirmed === true) confirmed += 1;
      else if (isReported && outcome?.isReadable === true) problems.push(`${id} ${name} ${value}`);
    }
    assert.deepEqual(problems, []);
    assert.ok(confirmed > 100, String(confirmed));
  });
});
