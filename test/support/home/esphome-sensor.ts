/** A program as ESPHome is, with a sensor, a number and a cover: run with a broker's port. */
import { connectAsync } from "mqtt";

const [port = "1883"] = process.argv.slice(2);
const client = await connectAsync(`mqtt://127.0.0.1:${port}`, {
  clientId: "greenhouse-a1b2c3",
  will: { topic: "greenhouse/status", payload: Buffer.from("offline"), qos: 1, retain: true },
});

const dev = {
  ids: "a1b2c3d4e5f6",
  name: "Greenhouse",
  sw: "esphome v2025.6.2 Jun 20 2025, 10:00:00",
  mdl: "esp32dev",
  mf: "Espressif",
  sa: "Garden",
};
const available = { avty_t: "greenhouse/status" };
const configs: Readonly<Record<string, object>> = {
  "sensor/greenhouse/soil_moisture": {
    unit_of_meas: "%",
    stat_cla: "measurement",
    dev_cla: "moisture",
    name: "Soil Moisture",
    stat_t: "greenhouse/sensor/soil_moisture/state",
    ...available,
    uniq_id: "ESPsensorsoil_moisture",
    dev,
  },
  "number/greenhouse/target": {
    min: 10,
    max: 60,
    step: 0.5,
    mode: 0,
    name: "Target",
    stat_t: "greenhouse/number/target/state",
    cmd_t: "greenhouse/number/target/command",
    ...available,
    uniq_id: "ESPnumbertarget",
    dev,
  },
  "cover/greenhouse/roof": {
    pos_t: "greenhouse/cover/roof/position/state",
    set_pos_t: "greenhouse/cover/roof/position/command",
    name: "Roof",
    stat_t: "greenhouse/cover/roof/state",
    cmd_t: "greenhouse/cover/roof/command",
    ...available,
    uniq_id: "ESPcoverroof",
    dev,
  },
};

const kept = { qos: 0, retain: true } as const;
const moveTo = (position: number): void => {
  client.publish("greenhouse/cover/roof/position/state", String(position), kept);
  client.publish("greenhouse/cover/roof/state", position === 0 ? "closed" : "open", kept);
};
client.on("message", (topic, payload) => {
  const text = String(payload);
  if (topic.includes("/number/")) client.publish("greenhouse/number/target/state", text, kept);
  else if (topic.includes("/position/")) moveTo(Number(text));
  else moveTo(text === "OPEN" ? 100 : 0);
});
await client.subscribeAsync(["greenhouse/+/+/command", "greenhouse/cover/roof/position/command"]);
await client.publishAsync("greenhouse/status", "online", { qos: 1, retain: true });
for (const [id, config] of Object.entries(configs)) {
  await client.publishAsync(`homeassistant/${id}/config`, JSON.stringify(config), kept);
}
await client.publishAsync("greenhouse/sensor/soil_moisture/state", "37.5", kept);
await client.publishAsync("greenhouse/number/target/state", "30.0", kept);
moveTo(0);
process.stdout.write("ready\n");
