import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openTestInventory, readingsOf } from "../support/home/inventory.ts";
import { tasmotaConfig } from "../support/home/tasmota.ts";
import { until } from "../support/until.ts";

const NEVER = new AbortController().signal;
const MAC = "00000049A3BC";
const STATE = "tasmota_49A3BC/tele/STATE";
const RESULT = "tasmota_49A3BC/stat/RESULT";

type TestInventory = Awaited<ReturnType<typeof openTestInventory>>;

function announce(set: TestInventory, own: object, sensors?: object): void {
  set.report(`tasmota/discovery/${MAC}/config`, { ...tasmotaConfig, ...own }, true);
  if (sensors !== undefined)
    set.report(`tasmota/discovery/${MAC}/sensors`, { sn: sensors, ver: 1 }, true);
}

describe("a device that Tasmota announces in its own words", () => {
  it("has its relays as switches, which answer on one topic and report on another", async () => {
    using set = await openTestInventory(({ topic, payload }) => {
      const number = topic.endsWith("POWER2") ? "POWER2" : "POWER1";
      set.report(RESULT, { [number]: payload });
    });
    announce(set, { rl: [1, 1, 0, 0, 0, 0, 0, 0], dn: "Hall" });
    await until("both topics are subscribed to", () => set.filters.has(RESULT));
    assert.ok(set.filters.has(STATE));
    set.report(STATE, { Time: "2020-09-25T12:47:15", POWER1: "OFF", POWER2: "OFF" });
    const names = set.entities().map(({ name, kind }) => `${name} ${kind}`);
    assert.deepEqual(names, ["Hall Test switch", "Hall Beer switch", "Hall Signal sensor"]);
    const first = set.entity(`tasmota/${MAC}/relay1`);
    const outcome = await first.set({ state: "on" }, NEVER);
    assert.equal(outcome.isConfirmed, true);
    assert.deepEqual(set.published, [
      { topic: "tasmota_49A3BC/cmnd/POWER1", payload: "ON", retain: false, qos: 1 },
    ]);
    await set.entity(`tasmota/${MAC}/relay2`).set({ state: "on" }, NEVER);
    assert.deepEqual(readingsOf(first), { state: "on" });
    set.report("tasmota_49A3BC/tele/LWT", "Offline");
    assert.equal(first.isOnline(), false);
  });

  it("has one relay without a number, and follows both topics", async () => {
    using set = await openTestInventory();
    announce(set, { rl: [1, 0, 0, 0, 0, 0, 0, 0] });
    const relay = set.entity(`tasmota/${MAC}/relay1`);
    set.report(STATE, { POWER: "ON", Wifi: { RSSI: 40, Signal: -80 } });
    assert.deepEqual(readingsOf(relay), { state: "on" });
    set.report(RESULT, { POWER: "OFF" });
    assert.deepEqual(readingsOf(relay), { state: "off" });
    assert.deepEqual(readingsOf(set.entity(`tasmota/${MAC}/signal`)), { state: -80 });
    const rights = { read: [RESULT], publish: [] };
    assert.deepEqual(set.entities(rights), []);
  });

  it("has lamps with what their type has", async () => {
    using set = await openTestInventory();
    announce(set, { rl: [2, 0, 0, 0, 0, 0, 0, 0], lt_st: 5 });
    set.report(RESULT, { POWER: "ON", Dimmer: 46, Color: "00CC00F50B", CT: 370 });
    const id = `tasmota/${MAC}/light1`;
    const lamp = { state: "on", brightness: 46, color_temperature: 2703, color: "#00cc00" };
    assert.deepEqual(readingsOf(set.entity(id)), lamp);
    const wanted = { brightness: 80, color_temperature: 4000, color: "#ff8800" };
    assert.deepEqual(await set.sent(set.entity(id), wanted), [
      "tasmota_49A3BC/cmnd/Dimmer 80",
      "tasmota_49A3BC/cmnd/CT 250",
      "tasmota_49A3BC/cmnd/Color2 255,136,0",
    ]);
    announce(set, { rl: [2, 2, 0, 0, 0, 0, 0, 0], lt_st: 5, lk: 0 });
    const settings = set
      .entities()
      .map((one) => one.settings().map(({ name }) => name))
      .slice(0, 2);
    assert.deepEqual(settings, [
      ["state", "brightness", "color"],
      ["state", "brightness", "color_temperature"],
    ]);
    assert.deepEqual(await set.sent(set.entity(`tasmota/${MAC}/light2`), { brightness: 5 }), [
      "tasmota_49A3BC/cmnd/Dimmer2 5",
    ]);
    const options = { ...tasmotaConfig.so, "30": 1 };
    announce(set, { rl: [1, 0, 0, 0, 0, 0, 0, 0], so: options });
    assert.equal(set.entity(`tasmota/${MAC}/relay1`).kind, "light");
  });

  it("has shutters, fans and switches", async () => {
    using set = await openTestInventory();
    announce(set, { rl: [3, 3, 3, 3, 0, 0, 0, 0], sho: [0, 1, 0, 0] });
    set.report(RESULT, { Shutter1: { Position: 0, Direction: 0, Target: 0 } });
    set.report(STATE, { Shutter2: { Position: 30, Direction: 0, Target: 30 } });
    const [one, two] = [`tasmota/${MAC}/shutter1`, `tasmota/${MAC}/shutter2`];
    assert.deepEqual(readingsOf(set.entity(one)), { state: "closed", position: 0 });
    assert.deepEqual(readingsOf(set.entity(two)), { state: "open", position: 70 });
    assert.deepEqual(await set.sent(set.entity(two), { position: 60 }), [
      "tasmota_49A3BC/cmnd/ShutterPosition2 40",
    ]);
    assert.deepEqual(await set.sent(set.entity(one), { state: "open" }), [
      "tasmota_49A3BC/cmnd/Backlog ShutterOpen1",
    ]);
    announce(set, { rl: [2, 0, 0, 0, 0, 0, 0, 0], if: 1, swc: [-1, 1], swn: [null, "Door"] });
    set.report(RESULT, { FanSpeed: 2 });
    const fan = `tasmota/${MAC}/fan`;
    assert.deepEqual(readingsOf(set.entity(fan)), { state: "on", speed: 67 });
    assert.deepEqual(await set.sent(set.entity(fan), { speed: 100 }), [
      "tasmota_49A3BC/cmnd/FanSpeed 3",
    ]);
    set.report("tasmota_49A3BC/stat/SWITCH2", { STATE: "ON" });
    const door = set.entity(`tasmota/${MAC}/switch2`);
    assert.deepEqual([door.name, readingsOf(door)], ["Tasmota Door", { state: "on" }]);
  });

  it("has several switches that report on one topic", async () => {
    using set = await openTestInventory();
    announce(set, { rl: [], swc: [1, 1], swn: ["Door", "Window"] });
    set.report("tasmota_49A3BC/tele/SENSOR", { Switch1: "ON", Switch2: "OFF" });
    const states = (count: number) =>
      Array.from({ length: count }, (_none, index) =>
        readingsOf(set.entity(`tasmota/${MAC}/switch${index + 1}`)),
      );
    assert.deepEqual(states(2), [{ state: "on" }, { state: "off" }]);
    announce(set, { rl: [], swc: [1], swn: ["Door"] });
    set.report("tasmota_49A3BC/tele/SENSOR", { Switch1: "OFF" });
    assert.deepEqual(states(1), [{ state: "off" }]);
  });

  it("has sensors, whichever of its two announcements comes first", async () => {
    using set = await openTestInventory();
    const sensors = {
      Time: "2020-09-25T12:47:15",
      ENERGY: { Total: 12.3, Power: [12, 40], TotalStartTime: "2018-11-23T15:33:47" },
      DHT11: { Temperature: null, Humidity: null },
      TX23: { Speed: { Act: 14.8 } },
      TempUnit: "C",
      SpeedUnit: "km/h",
    };
    set.report(`tasmota/discovery/${MAC}/sensors`, { sn: sensors, ver: 1 }, true);
    assert.deepEqual(set.entities(), []);
    announce(set, { dn: "Plug" });
    set.report("tasmota_49A3BC/tele/SENSOR", {
      ENERGY: { Total: 12.5, Power: [13, 41] },
      DHT11: { Temperature: 20.5, Humidity: 51 },
    });
    const states = set
      .entities()
      .flatMap((entity) =>
        entity.readings().map(({ value, unit }) => `${entity.name}: ${value} ${unit}`.trim()),
      );
    assert.deepEqual(states, [
      "Plug ENERGY Total: 12.5 kWh",
      "Plug ENERGY Power 1: 13 W",
      "Plug ENERGY Power 2: 41 W",
      "Plug ENERGY TotalStartTime: undefined",
      "Plug DHT11 Temperature: 20.5 °C",
      "Plug DHT11 Humidity: 51 %",
      "Plug TX23 Speed Act: undefined",
      "Plug Signal: undefined dBm",
    ]);
    set.report(`tasmota/discovery/${MAC}/sensors`, "", true);
    assert.equal(set.entities().length, 1);
    set.report(`tasmota/discovery/${MAC}/config`, "", true);
    assert.deepEqual(set.entities(), []);
    assert.equal(set.filters.has("tasmota_49A3BC/tele/SENSOR"), false);
  });

  it("is gone with its sensors when it does not come again after a reconnect", async () => {
    using set = await openTestInventory();
    announce(set, { rl: [1] }, { ENERGY: { Power: 1 } });
    assert.equal(set.entities().length, 3);
    set.reconnect();
    await until("it is gone", () => set.entities().length === 0);
    set.report(`tasmota/discovery/${MAC}/sensors`, { sn: { ENERGY: { Power: 1 } } }, true);
    assert.deepEqual(set.entities(), []);
  });

  it("is one of no more than 2,000, with 4 MiB of announcements", { timeout: 60_000 }, async () => {
    using set = await openTestInventory();
    const filler = "x".repeat(15_000);
    for (let index = 0; index < 400; index += 1) {
      const mac = index.toString(16).toUpperCase().padStart(12, "0");
      set.report(`tasmota/discovery/${mac}/config`, { ...tasmotaConfig, rl: [1], filler }, true);
    }
    const kept = set.entities().length / 2;
    assert.ok(kept > 200 && kept < 280, String(kept));
    set.report("tasmota/discovery/000000000000/config", "", true);
    announce(set, { rl: [1] });
    assert.equal(set.entities().length, kept * 2);
  });

  it("that lies has no topics but those that a client may have, and no more than some values", async () => {
    using set = await openTestInventory();
    for (const ft of [
      "/picoclaw/edge/%prefix%/",
      "$SYS/%prefix%/",
      "+/%prefix%/",
      "tasmota/discovery/%prefix%/",
      "%topic%/",
    ]) {
      announce(set, { rl: [1], ft });
      assert.deepEqual(set.entities(), [], ft);
    }
    announce(set, { rl: [1], t: "" });
    announce(set, { rl: [1], t: "x".repeat(2_000), ft: "%prefix%/%topic%/%topic%/" });
    announce(set, { rl: [1], ft: `%prefix%/${"%topic%".repeat(100)}` });
    assert.deepEqual(set.entities(), []);
    const many = Object.fromEntries(
      Array.from({ length: 300 }, (_none, index) => [`S${index}`, { "a'] }}{{ x": 1, A: 1 }]),
    );
    announce(set, { rl: Array.from({ length: 99 }, () => 1) }, many);
    assert.equal(set.entities().length, 32 + 128 + 1);
    for (const text of ["[]", "null", "{", '{"rl":1,"so":[],"state":{}}'])
      set.report(`tasmota/discovery/${MAC}/config`, text, true);
    assert.deepEqual(set.entities(), []);
    set.report("tasmota/discovery/..%2F/config", tasmotaConfig, true);
    assert.deepEqual(set.entities(), []);
  });
});
