import assert from "node:assert/strict";
import { it } from "node:test";
import { openTestInventory } from "../support/home/inventory.ts";
import { atMost, heldBytes } from "../support/memory.ts";

const DEVICES = 1_000;
const MOST_MEBIBYTES = 19;

/** The sensors and settings of one device, as zigbee2mqtt announces them. */
const SENSORS = ["temperature", "humidity", "pressure", "battery", "linkquality", "voltage"];
const SELECTS = ["power_on_behavior", "effect", "mode"];

type TestInventory = Awaited<ReturnType<typeof openTestInventory>>;

function announceDevice(set: TestInventory, index: number): void {
  const id = `0x00178801${String(index).padStart(8, "0")}`;
  const name = `Device number ${index}`;
  const topic = `zigbee2mqtt/${name}`;
  const common = {
    availability: [
      { topic: "zigbee2mqtt/bridge/state", value_template: "{{ value_json.state }}" },
      { topic: `${topic}/availability`, value_template: "{{ value_json.state }}" },
    ],
    availability_mode: "all",
    device: { identifiers: [`zigbee2mqtt_${id}`], manufacturer: "Aqara", model: "Multi", name },
    origin: { name: "Zigbee2MQTT", sw: "2.6.1", url: "https://www.zigbee2mqtt.io" },
    state_topic: topic,
  };
  for (const sensor of SENSORS) {
    const read = { value_template: `{{ value_json["${sensor}"] }}`, unit_of_measurement: "x" };
    const object = { object_id: `device_${index}_${sensor}`, name: sensor };
    set.announce(`sensor/${id}/${sensor}`, { ...common, ...read, ...object });
  }
  for (const select of SELECTS) {
    const read = { value_template: `{{ value_json["${select}"] }}`, name: select };
    const write = { command_topic: `${topic}/set/${select}`, options: ["off", "on", "previous"] };
    set.announce(`select/${id}/${select}`, { ...common, ...read, ...write });
  }
  const light = { schema: "json", brightness: true, supported_color_modes: ["color_temp", "xy"] };
  set.announce(`light/${id}/light`, {
    ...common,
    ...light,
    command_topic: `${topic}/set`,
    name: null,
  });
  const state = {
    temperature: 21.4,
    humidity: 55,
    battery: 80,
    linkquality: 120,
    filler: "x".repeat(300),
  };
  set.report(topic, { ...state, state: "ON", brightness: 120, color: { x: 0.4, y: 0.4 } });
  set.report(`${topic}/availability`, { state: "online" });
}

it("10,000 entities with their states take less than 20 MB", { timeout: 60_000 }, async () => {
  using set = await openTestInventory();
  announceDevice(set, 0);
  const before = heldBytes();
  for (let index = 1; index < DEVICES; index += 1) announceDevice(set, index);
  const bytes = heldBytes() - before;
  const entities = set.entities();
  assert.equal(entities.length, DEVICES * (SENSORS.length + SELECTS.length + 1));
  assert.equal(entities.at(-1)?.readings()[0]?.value, "on");
  assert.ok(bytes < atMost(MOST_MEBIBYTES), `${bytes} bytes`);
});
