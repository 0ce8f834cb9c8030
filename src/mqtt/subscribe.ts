import type { MqttClient } from "mqtt";
import { Failure } from "../base/failure.ts";
import { ConnectionLost } from "./message.ts";
import { refusalOf } from "./reasons.ts";

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
      } else if (error) reject(new ConnectionLost(error.message));
      else resolve();
    });
  });
}

const SUBSCRIBE_REMEDY = "allow this user to read that topic in the broker's access list";
