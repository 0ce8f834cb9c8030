import type { MqttClient } from "mqtt";
import { Failure } from "../base/failure.ts";
import { Lost, type Outgoing, type Published } from "./message.ts";
import { refusalOf } from "./reasons.ts";

/** Message ids whose PUBACK or PUBREC said reason 16; the library shows it on the packet alone. */
export function unheardIds(client: MqttClient): Set<number> {
  const ids = new Set<number>();
  client.on("packetreceive", (packet) => {
    if ((packet.cmd === "puback" || packet.cmd === "pubrec") && packet.reasonCode === 16) {
      ids.add(packet.messageId ?? 0);
    }
  });
  return ids;
}

/** Publishes; rejects with `Lost`, or with a `Failure` when the broker refused the message. */
export function publishWith(
  client: MqttClient,
  message: Outgoing,
  unheard: Set<number>,
): Promise<Published> {
  const { topic, payload, qos, retain = false, properties } = message;
  const bytes = typeof payload === "string" ? payload : Buffer.from(payload);
  return new Promise((resolve, reject) => {
    let id = 0;
    const settings = { qos, retain, ...(properties && { properties }) };
    client.publish(topic, bytes, settings, (error) => {
      const heardByNone = unheard.delete(id);
      if (!error) resolve({ unheard: heardByNone });
      else reject(publishError(error));
    });
    if (qos > 0) id = client.getLastMessageId();
  });
}

/** A code is the broker's refusal, which another try would only repeat; anything else is the connection. */
function publishError(error: Error & { code?: unknown }): Error {
  if (typeof error.code !== "number") return new Lost(error.message);
  const { failure } = refusalOf(error.code, "the broker refused the message");
  return new Failure("refused", failure.message, {
    ...(failure.why !== undefined && { why: failure.why }),
    ...(failure.remedy !== undefined && { remedy: failure.remedy }),
  });
}

export interface SubscriptionWish {
  /** Whether messages that the broker keeps are wanted; else only of filters without `+`. */
  readonly retained?: boolean;
}

interface Subscription extends SubscriptionWish {
  readonly filters: readonly string[];
  readonly qos: 0 | 1 | 2;
}

/** Subscribes; a refused filter rejects with a `Failure` that says why. */
export function subscribeWith(
  client: MqttClient,
  { filters, qos, retained }: Subscription,
): Promise<void> {
  // Retain Handling 2 (MQTT 5 section 3.8.3.1): do not send retained messages at subscribe time.
  const handling = (filter: string): 0 | 2 => ((retained ?? !filter.includes("+")) ? 0 : 2);
  const wanted = Object.fromEntries(
    filters.map((filter) => [filter, { qos, rh: handling(filter) } as const]),
  );
  return new Promise((resolve, reject) => {
    client.subscribe(wanted, (error, _wanted, packet) => {
      // The library's error names the reason in words alone; the code is on the packet.
      const refused = packet?.granted.find((code) => typeof code === "number" && code >= 0x80);
      if (typeof refused === "number") {
        const { why, remedy } = refusalOf(refused, "").failure;
        const message = `the broker refused the subscription to ${filters.join(", ")}`;
        reject(
          new Failure("refused", message, { why: why ?? "", remedy: remedy ?? SUBSCRIBE_REMEDY }),
        );
      } else if (error) reject(new Lost(error.message));
      else resolve();
    });
  });
}

const SUBSCRIBE_REMEDY = "allow this user to read that topic in the broker's access list";
