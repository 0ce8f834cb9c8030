/**
 * A device of ESPHome with a sensor, a number, a cover and a lamp: run with a broker's port. Its keys and their order,
 * its topics and its states are those of esphome/components/mqtt at version 2025.11.
 */
import { connectAsync } from "mqtt";

const [port = "1883"] = process.argv.slice(2);
const client = await connectAsync(`mqtt://127.0.0.1:${port}`, {
  clientId: "greenhouse-a1b2c3d4e5f6",
  will: { topic: "greenhouse/status", payload: Buffer.from("offline"), qos: 0, retain: true },
});

/** What each entity has after its own keys. */
function common(type: string, id: string, name: string, topics: object): object {
  return {
    name,
    ...topics,
    avty_t: "greenhouse/status",
    uniq_id: `ESP${type}${id}`,
    dev: {
      ids: "a1b2c3d4e5f6",
      name: "Greenhouse",
      sw: "2025.11.0 (config hash 0x1a2b3c4d)",
      mdl: "esp32dev",
      mf: "Espressif",
      sa: "Garden",
      cns: [["mac", "a1b2c3d4e5f6"]],
    },
  };
}
const stateOf = (path: string): object => ({ stat_t: `greenhouse/${path}/state` });
const both = (path: string): object => ({
  ...stateOf(path),
  cmd_t: `greenhouse/${path}/command`,
});

const configs: Readonly<Record<string, object>> = {
  "sensor/greenhouse/soil_moisture": {
    dev_cla: "moisture",
    unit_of_meas: "%",
    stat_cla: "measurement",
    ...common("sensor", "soil_moisture", "Soil Moisture", stateOf("sensor/soil_moisture")),
  },
  "number/greenhouse/target": {
    min: 10,
    max: 60,
    step: 0.5,
    mode: "slider",
    ...common("number", "target", "Target", both("number/target")),
  },
  "cover/greenhouse/roof": {
    dev_cla: "window",
    pos_t: "greenhouse/cover/roof/position/state",
    set_pos_t: "greenhouse/cover/roof/position/command",
    ...common("cover", "roof", "Roof", both("cover/roof")),
  },
  "light/greenhouse/grow_light": {
    schema: "json",
    clrm: true,
    supported_color_modes: ["rgb"],
    brightness: true,
    effect: true,
    fx_list: ["Pulse", "None"],
    ...common("light", "grow_light", "Grow Light", both("light/grow_light")),
  },
};

const kept = { qos: 0, retain: true } as const;
const moveTo = (position: number): void => {
  client.publish("greenhouse/cover/roof/position/state", String(position), kept);
  client.publish("greenhouse/cover/roof/state", position === 0 ? "closed" : "open", kept);
};
let light = {
  effect: "None",
  effect_index: 0,
  effect_count: 1,
  color_mode: "rgb",
  state: "OFF",
  brightness: 255,
  color: { r: 255, g: 255, b: 255 },
};
const shine = (changes: object): void => {
  light = { ...light, ...changes };
  client.publish("greenhouse/light/grow_light/state", JSON.stringify(light), kept);
};
client.on("message", (topic, payload) => {
  const text = String(payload);
  if (topic.includes("/light/")) shine(JSON.parse(text));
  else if (topic.includes("/number/")) {
    client.publish("greenhouse/number/target/state", Number(text).toFixed(6), kept);
  } else if (topic.includes("/position/")) moveTo(Number(text));
  else moveTo(text === "OPEN" ? 100 : 0);
});
await client.subscribeAsync(["greenhouse/+/+/command", "greenhouse/cover/roof/position/command"]);
await client.publishAsync("greenhouse/status", "online", kept);
for (const [id, config] of Object.entries(configs)) {
  await client.publishAsync(`homeassistant/${id}/config`, JSON.stringify(config), kept);
}
await client.publishAsync("greenhouse/sensor/soil_moisture/state", "37.5", kept);
await client.publishAsync("greenhouse/number/target/state", "30.000000", kept);
moveTo(0);
shine({});
process.stdout.write("ready\n");
