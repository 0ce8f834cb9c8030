/**
 * A program as zigbee2mqtt is, with one lamp, and a sensor with a weak battery: run with a broker's port, and with
 * `silent` to take commands without an answer. It keeps the lamp's state.
 */
import { connectAsync } from "mqtt";

const [port = "1883", mode = ""] = process.argv.slice(2);
const client = await connectAsync(`mqtt://127.0.0.1:${port}`, {
  clientId: "mqttjs_zigbee2mqtt",
  will: {
    topic: "zigbee2mqtt/bridge/state",
    payload: Buffer.from('{"state":"offline"}'),
    qos: 1,
    retain: true,
  },
});

const origin = { name: "Zigbee2MQTT", sw: "2.6.1", url: "https://www.zigbee2mqtt.io" };
const lamp = {
  identifiers: ["zigbee2mqtt_0x000b57fffec6a5b2"],
  manufacturer: "IKEA",
  model: "TRADFRI bulb E26/E27, white spectrum, globe, opal, 980 lm",
  model_id: "LED1545G12",
  name: "kitchen lamp",
  via_device: "zigbee2mqtt_bridge_0x00124b00120144ae",
};
const sensor = {
  identifiers: ["zigbee2mqtt_0x0017880104e45522"],
  manufacturer: "Aqara",
  model: "Temperature and humidity sensor",
  model_id: "WSDCGQ11LM",
  name: "weather sensor",
  via_device: "zigbee2mqtt_bridge_0x00124b00120144ae",
};
const availabilityOf = (name: string) => ({
  availability: [
    { topic: "zigbee2mqtt/bridge/state", value_template: "{{ value_json.state }}" },
    { topic: `zigbee2mqtt/${name}/availability`, value_template: "{{ value_json.state }}" },
  ],
  availability_mode: "all",
});

const configs: Readonly<Record<string, object>> = {
  "light/0x000b57fffec6a5b2/light": {
    ...availabilityOf("kitchen lamp"),
    brightness: true,
    brightness_scale: 254,
    command_topic: "zigbee2mqtt/kitchen lamp/set",
    default_entity_id: "light.kitchen_lamp",
    device: lamp,
    effect: true,
    effect_list: ["blink", "breathe", "okay", "channel_change", "finish_effect", "stop_effect"],
    max_mireds: 454,
    min_mireds: 250,
    name: null,
    object_id: "kitchen_lamp",
    origin,
    schema: "json",
    state_topic: "zigbee2mqtt/kitchen lamp",
    supported_color_modes: ["color_temp"],
    unique_id: "0x000b57fffec6a5b2_light_zigbee2mqtt",
  },
  "select/0x000b57fffec6a5b2/power_on_behavior": {
    ...availabilityOf("kitchen lamp"),
    command_topic: "zigbee2mqtt/kitchen lamp/set/power_on_behavior",
    default_entity_id: "select.kitchen_lamp_power_on_behavior",
    device: lamp,
    entity_category: "config",
    icon: "mdi:power-settings",
    name: "Power-on behavior",
    object_id: "kitchen_lamp_power_on_behavior",
    options: ["off", "on", "toggle", "previous"],
    origin,
    state_topic: "zigbee2mqtt/kitchen lamp",
    unique_id: "0x000b57fffec6a5b2_power_on_behavior_zigbee2mqtt",
    value_template: '{{ value_json["power_on_behavior"] }}',
  },
  "sensor/0x000b57fffec6a5b2/linkquality": {
    ...availabilityOf("kitchen lamp"),
    default_entity_id: "sensor.kitchen_lamp_linkquality",
    device: lamp,
    enabled_by_default: false,
    entity_category: "diagnostic",
    icon: "mdi:signal",
    name: "Linkquality",
    object_id: "kitchen_lamp_linkquality",
    origin,
    state_class: "measurement",
    state_topic: "zigbee2mqtt/kitchen lamp",
    unique_id: "0x000b57fffec6a5b2_linkquality_zigbee2mqtt",
    unit_of_measurement: "lqi",
    value_template: '{{ value_json["linkquality"] }}',
  },
  "sensor/0x0017880104e45522/temperature": {
    ...availabilityOf("weather sensor"),
    default_entity_id: "sensor.weather_sensor_temperature",
    device: sensor,
    device_class: "temperature",
    object_id: "weather_sensor_temperature",
    origin,
    state_class: "measurement",
    state_topic: "zigbee2mqtt/weather sensor",
    unique_id: "0x0017880104e45522_temperature_zigbee2mqtt",
    unit_of_measurement: "°C",
    value_template: '{{ value_json["temperature"] }}',
    name: "Temperature",
  },
  "sensor/0x0017880104e45522/battery": {
    ...availabilityOf("weather sensor"),
    default_entity_id: "sensor.weather_sensor_battery",
    device: sensor,
    device_class: "battery",
    entity_category: "diagnostic",
    object_id: "weather_sensor_battery",
    origin,
    state_class: "measurement",
    state_topic: "zigbee2mqtt/weather sensor",
    unique_id: "0x0017880104e45522_battery_zigbee2mqtt",
    unit_of_measurement: "%",
    value_template: '{{ value_json["battery"] }}',
    name: "Battery",
  },
};

const kept = { qos: 1, retain: true } as const;
let state: object = {
  brightness: 120,
  color_mode: "color_temp",
  color_temp: 370,
  linkquality: 23,
  power_on_behavior: "previous",
  state: "OFF",
};
const publishState = (): void => {
  client.publish("zigbee2mqtt/kitchen lamp", JSON.stringify(state), kept);
};

client.on("message", (topic, payload) => {
  if (mode === "silent") return;
  const key = topic.split("/set/")[1];
  const changes: object =
    key === undefined ? JSON.parse(String(payload)) : { [key]: String(payload) };
  state = { ...state, ...changes };
  publishState();
});
await client.subscribeAsync(["zigbee2mqtt/+/set", "zigbee2mqtt/+/set/+"], { qos: 1 });
await client.publishAsync("zigbee2mqtt/bridge/state", '{"state":"online"}', kept);
await client.publishAsync("zigbee2mqtt/kitchen lamp/availability", '{"state":"online"}', kept);
await client.publishAsync("zigbee2mqtt/weather sensor/availability", '{"state":"offline"}', kept);
for (const [id, config] of Object.entries(configs)) {
  await client.publishAsync(`homeassistant/${id}/config`, JSON.stringify(config), kept);
}
publishState();
await client.publishAsync(
  "zigbee2mqtt/weather sensor",
  '{"battery":8,"humidity":55.1,"linkquality":120,"temperature":21.4,"voltage":2755}',
  kept,
);
process.stdout.write("ready\n");
