/**
 * zigbee2mqtt as far as one lamp and one sensor with a weak battery see it: run with a broker's port, and with `silent`
 * to take commands without an answer. It announces what zigbee2mqtt was recorded to announce, and keeps states at the
 * broker, as with its option `retain`.
 */
import { connectAsync } from "mqtt";
import { recordedZigbee2mqtt } from "./recorded.ts";

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
const { messages } = await recordedZigbee2mqtt();
const LAMP = "zigbee2mqtt/kitchen lamp";
const SENSOR = "zigbee2mqtt/cellar climate";
const stateOf = (topic: string): Record<string, unknown> =>
  JSON.parse(messages.find(([one]) => one === topic)?.[1] ?? "{}");

const kept = { qos: 1, retain: true } as const;
let state: Record<string, unknown> = {
  ...stateOf(LAMP),
  brightness: 120,
  color_temp: 370,
  linkquality: 23,
  state: "OFF",
};
const publishState = (): void => {
  client.publish(LAMP, JSON.stringify(state), kept);
};

client.on("message", (topic, payload) => {
  if (mode === "silent") return;
  const key = topic.split("/set/")[1];
  const { transition: _seconds, ...changes }: Record<string, unknown> =
    key === undefined ? JSON.parse(String(payload)) : { [key]: String(payload) };
  // A brightness turns a lamp on, or off if it is 0. A transition is reported at once as it will end.
  const { brightness } = changes;
  const turned = brightness === undefined ? {} : { state: brightness === 0 ? "OFF" : "ON" };
  state = { ...state, ...turned, ...changes };
  publishState();
});
await client.subscribeAsync(["zigbee2mqtt/+/set", "zigbee2mqtt/+/set/+"], { qos: 1 });
await client.publishAsync("zigbee2mqtt/bridge/state", '{"state":"online"}', kept);
await client.publishAsync(`${LAMP}/availability`, '{"state":"online"}', kept);
await client.publishAsync(`${SENSOR}/availability`, '{"state":"offline"}', kept);
for (const [topic, payload] of messages) {
  if (!topic.startsWith("homeassistant/")) continue;
  if (/"name":"(?:kitchen lamp|cellar climate)"/.test(payload))
    await client.publishAsync(topic, payload, kept);
}
publishState();
const measured = { ...stateOf(SENSOR), battery: 8, humidity: 55.1, temperature: 21.4 };
await client.publishAsync(SENSOR, JSON.stringify(measured), kept);
process.stdout.write("ready\n");
