import type { MqttClient, Packet } from "mqtt";

const END_MS = 2_000;

type Send = (packet: Packet, sent?: () => void, stored?: () => void, noStore?: boolean) => void;

/** The library's way to send one packet, past its own store. */
export function packetWriter(client: MqttClient): (packet: Packet, written?: () => void) => void {
  const found: unknown = Reflect.get(client, "_sendPacket");
  if (!isSend(found)) throw new Error("this version of MQTT.js sends in another way");
  const send: Send = found.bind(client);
  return (packet, written) => {
    if (client.connected && !client.disconnecting) send(packet, written, undefined, true);
  };
}

function isSend(found: unknown): found is Send {
  return typeof found === "function";
}

/** Says DISCONNECT when all is acknowledged; closes the connection in any case. */
export async function endClient(client: MqttClient, idle: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, END_MS);
  void idle.then(() => client.end(false, () => resolve()));
  await promise;
  clearTimeout(timer);
  // A second end() would do nothing, and a broker that hangs never closes its side.
  client.stream.destroy();
}
