/** A program as Tasmota is, with one relay and a dimmer: run with a broker's port. Its state is not retained. */
import { connectAsync } from "mqtt";

const [port = "1883"] = process.argv.slice(2);
const LWT = "tele/hall/LWT";
const client = await connectAsync(`mqtt://127.0.0.1:${port}`, {
  clientId: "DVES_2F4A1B",
  will: { topic: LWT, payload: Buffer.from("Offline"), qos: 1, retain: true },
});

const available = { avty_t: LWT, pl_avail: "Online", pl_not_avail: "Offline" };
const device = {
  ids: ["2F4A1B"],
  name: "Hall",
  mdl: "Sonoff Basic",
  sw: "12.5.0(tasmota)",
  mf: "Tasmota",
};
const configs: Readonly<Record<string, object>> = {
  "switch/2F4A1B_RL_1": {
    name: "Relay",
    stat_t: "stat/hall/RESULT",
    ...available,
    cmd_t: "cmnd/hall/POWER",
    val_tpl: "{{value_json.POWER}}",
    pl_off: "OFF",
    pl_on: "ON",
    uniq_id: "2F4A1B_RL_1",
    dev: device,
  },
  "light/2F4A1B_LI_2": {
    name: "Dimmer",
    stat_t: "stat/hall/RESULT",
    ...available,
    cmd_t: "cmnd/hall/POWER2",
    pl_off: "OFF",
    pl_on: "ON",
    stat_val_tpl: "{{value_json.POWER2}}",
    bri_cmd_t: "cmnd/hall/Dimmer",
    bri_stat_t: "stat/hall/RESULT",
    bri_scl: 100,
    on_cmd_type: "brightness",
    bri_val_tpl: "{{value_json.Dimmer}}",
    uniq_id: "2F4A1B_LI_2",
    dev: { ids: ["2F4A1B"], name: "Hall" },
  },
  "sensor/2F4A1B_ENERGY_Power": {
    name: "Power",
    stat_t: "tele/hall/SENSOR",
    ...available,
    unit_of_meas: "W",
    dev_cla: "power",
    frc_upd: true,
    val_tpl: "{{value_json['ENERGY']['Power']}}",
    uniq_id: "2F4A1B_ENERGY_Power",
    dev: { ids: ["2F4A1B"], name: "Hall" },
  },
};

const state: Record<string, unknown> = { POWER: "OFF", POWER2: "OFF", Dimmer: 30 };
client.on("message", (topic, payload) => {
  const command = topic.split("/").at(-1) ?? "";
  const text = String(payload);
  if (command === "Dimmer") Object.assign(state, { Dimmer: Number(text), POWER2: "ON" });
  else state[command] = text;
  const changed =
    command === "Dimmer" ? { POWER2: "ON", Dimmer: Number(text) } : { [command]: text };
  client.publish("stat/hall/RESULT", JSON.stringify(changed));
});
await client.subscribeAsync("cmnd/hall/#");
await client.publishAsync(LWT, "Online", { qos: 1, retain: true });
for (const [id, config] of Object.entries(configs)) {
  const options = { qos: 1, retain: true } as const;
  await client.publishAsync(`homeassistant/${id}/config`, JSON.stringify(config), options);
}
setInterval(() => {
  client.publish(
    "tele/hall/SENSOR",
    '{"Time":"2026-11-30T16:00:00","ENERGY":{"Total":12.3,"Power":42}}',
  );
}, 500);
process.stdout.write("ready\n");
