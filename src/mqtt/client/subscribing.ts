import type { MqttClient } from "mqtt";
import { abortable } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { ConnectionLost } from "../protocol/message.ts";
import type { createDeadlines } from "./flow-control.ts";
import { refusalOf } from "./reasons.ts";

export interface Subscribing {
  /** Rejects with `ConnectionLost`, or a `Failure` that names the broker's reason. */
  subscribe(filters: readonly string[], qos: 0 | 1 | 2, options?: SubscribeOptions): Promise<void>;
  /** Rejects with `ConnectionLost`. */
  unsubscribe(filters: readonly string[]): Promise<void>;
}

interface SubscribeOptions {
  /** Whether to get retained messages; by default only for filters without `+`. */
  readonly retained?: boolean;
  /** Whether our own messages are left out; only on MQTT 5. */
  readonly noLocal?: boolean;
}

interface SubscribingOptions {
  readonly maximumQos: 0 | 1 | 2;
  readonly expect: ReturnType<typeof createDeadlines>;
  readonly gone: AbortSignal;
  /** Called with the lowest QoS that the broker granted. */
  readonly granted: (qos: 0 | 1 | 2) => void;
}

/** The subscriptions of one network connection. */
export function subscribingOn(
  client: MqttClient,
  { maximumQos, expect, gone, granted }: SubscribingOptions,
): Subscribing {
  return {
    async subscribe(filters, qos, more) {
      const stop = expect("SUBACK");
      const wanted = qos > maximumQos ? maximumQos : qos;
      const subscribed = subscribe(client, { filters, qos: wanted, ...more });
      granted(await abortable(subscribed, gone).finally(stop));
    },
    async unsubscribe(filters) {
      const stop = expect("UNSUBACK");
      await abortable(unsubscribe(client, filters), gone).finally(stop);
    },
  };
}

const SUBSCRIBE_REMEDY = "allow this user to read that topic in the broker's access list";

interface Subscription extends SubscribeOptions {
  readonly filters: readonly string[];
  readonly qos: 0 | 1 | 2;
}

/** Resolves with the lowest QoS that the broker grants. Rejects with a `Failure` that says why a filter was refused. */
function subscribe(
  client: MqttClient,
  { filters, qos, retained, noLocal: nl = false }: Subscription,
): Promise<0 | 1 | 2> {
  // Retain Handling 2 (MQTT 5 section 3.8.3.1): do not send retained messages at subscribe time.
  const handling = (filter: string): 0 | 2 => ((retained ?? !filter.includes("+")) ? 0 : 2);
  const wanted = Object.fromEntries(
    filters.map((filter) => [filter, { qos, nl, rh: handling(filter) } as const]),
  );
  return new Promise((resolve, reject) => {
    client.subscribe(wanted, (error, _wanted, packet) => {
      // The library's error has the reason only in words; the code is in the packet.
      const refused = packet?.granted.find((code) => typeof code === "number" && code >= 0x80);
      if (typeof refused === "number") {
        const { why = "", remedy = SUBSCRIBE_REMEDY } = refusalOf(refused, "").failure;
        const message = `the broker refused the subscription to ${filters.join(", ")}`;
        reject(new Failure("refused", message, { why, remedy }));
      } else if (error) reject(new ConnectionLost(error.message));
      else resolve(lowestQos(packet?.granted ?? []));
    });
  });
}

function unsubscribe(client: MqttClient, filters: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    client.unsubscribe([...filters], (error) => {
      if (error) reject(new ConnectionLost(error.message));
      else resolve();
    });
  });
}

function lowestQos(codes: readonly unknown[]): 0 | 1 | 2 {
  if (codes.includes(0)) return 0;
  return codes.includes(1) ? 1 : 2;
}
