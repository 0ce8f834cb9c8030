import type { IPublishPacket } from "mqtt";
import type { PublishTopic } from "./topics.ts";

/** A message on its way out. */
export interface Outgoing {
  readonly topic: PublishTopic;
  readonly payload: string | Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly retain?: boolean;
  readonly properties?: IPublishPacket["properties"];
}

export interface Published {
  /** PUBACK or PUBREC reason 16 (MQTT 5 section 3.4.2.1): nobody was subscribed. */
  readonly noMatchingSubscribers: boolean;
}

/** A message as it came. */
export interface Incoming {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly dup: boolean;
  readonly retain: boolean;
  readonly properties: IncomingProperties | undefined;
}

/** What a request may carry beside its payload (MQTT 5 section 3.3.2.3). */
export interface IncomingProperties {
  readonly responseTopic?: string;
  readonly correlationData?: Buffer;
  /** Seconds. */
  readonly messageExpiryInterval?: number;
}

/** The connection broke while something waited for it; whoever waits may try again on the next one. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}
