/**
 * A device of Tasmota as its firmware is today, with one relay, a dimmer and a power meter: run with a broker's port.
 * It announces itself in its own words; its states are not retained.
 */
import { connectAsync } from "mqtt";
import { tasmotaConfig } from "./tasmota.ts";

const [port = "1883"] = process.argv.slice(2);
const MAC = "A4CF12F4A1B0";
const LWT = "tele/hall/LWT";
const client = await connectAsync(`mqtt://127.0.0.1:${port}`, {
  clientId: "DVES_F4A1B0",
  will: { topic: LWT, payload: Buffer.from("Offline"), qos: 1, retain: true },
});

const config = {
  ...tasmotaConfig,
  dn: "Hall",
  fn: ["Relay", "Dimmer", null, null, null, null, null, null],
  hn: "hall-8624",
  mac: MAC,
  t: "hall",
  ft: "%prefix%/%topic%/",
  rl: [1, 2, 0, 0, 0, 0, 0, 0],
  lt_st: 1,
};
const time = "2026-11-30T16:00:00";
const energy = { TotalStartTime: "2026-01-01T00:00:00", Total: 12.3, Today: 0.2, Power: 42 };
const sensors = { sn: { Time: time, ENERGY: energy }, ver: 1 };

let state: Record<string, unknown> = { POWER1: "OFF", POWER2: "OFF", Dimmer: 30 };
const publish = (topic: string, object: object): void => {
  client.publish(topic, JSON.stringify(object));
};
client.on("message", (topic, payload) => {
  const command = topic.split("/").at(-1) ?? "";
  const text = String(payload);
  const changed =
    command === "Dimmer" ? { POWER2: "ON", Dimmer: Number(text) } : { [command]: text };
  state = { ...state, ...changed };
  publish("stat/hall/RESULT", changed);
  for (const [key, value] of Object.entries(changed))
    if (key.startsWith("POWER")) client.publish(`stat/hall/${key}`, String(value));
});
await client.subscribeAsync("cmnd/hall/#");
await client.publishAsync(LWT, "Online", { qos: 1, retain: true });
const kept = { qos: 0, retain: true } as const;
const announcement = `tasmota/discovery/${MAC}`;
await client.publishAsync(`${announcement}/config`, JSON.stringify(config), kept);
await client.publishAsync(`${announcement}/sensors`, JSON.stringify(sensors), kept);
publish("tele/hall/STATE", { Time: time, ...state, Wifi: { RSSI: 78, Signal: -61 } });
// By default it reports every five minutes.
setInterval(() => publish("tele/hall/SENSOR", { Time: time, ENERGY: energy }), 500);
process.stdout.write("ready\n");
