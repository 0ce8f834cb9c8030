import type { IPublishPacket } from "mqtt";
import { Failure, type FailureFacts } from "../../base/failure.ts";
import type { PublishTopic } from "./topics.ts";

/** A message to publish. */
export interface Outgoing {
  readonly topic: PublishTopic;
  readonly payload: string | Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly retain?: boolean;
  readonly properties?: IPublishPacket["properties"] | undefined;
}

export interface Published {
  /** PUBACK or PUBREC reason 16 (MQTT 5 section 3.4.2.1): nobody is subscribed. */
  readonly noMatchingSubscribers: boolean;
}

/** A received message. */
export interface Incoming {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly dup: boolean;
  readonly retain: boolean;
  readonly properties: IncomingProperties | undefined;
}

/** The properties of a request that are used (MQTT 5 section 3.3.2.3). */
export interface IncomingProperties {
  readonly responseTopic?: string;
  readonly correlationData?: Buffer;
  readonly contentType?: string;
  /** Seconds. */
  readonly messageExpiryInterval?: number;
  /** The user property of this name (W3C Trace Context: MQTT protocol). */
  readonly traceparent?: string;
  /** The user property `MCP-MQTT-CLIENT-ID`: who sends, as it says itself (MCP over MQTT). */
  readonly mcpClient?: string;
  /** The user property `a2a-status` of an agent card (A2A over MQTT). */
  readonly a2aStatus?: string;
}

/** The connection was lost while something waited for it; the caller may try again on the next one. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

/** The broker refused this message, or ended the connection each time that it was sent. */
export class Undeliverable extends Failure {
  /** It was not refused: the broker ended the connection. */
  readonly endsConnection: boolean;

  constructor(message: string, facts: FailureFacts, endsConnection: boolean) {
    super("refused", message, facts);
    this.endsConnection = endsConnection;
  }
}

/** The names under which this program publishes empty messages to find out what a broker does. */
const PROBE = /^(?:picoclaw-(?:cli|doctor|probe)|doctor)-[\da-f]{8}$/;

/** Marks an empty message as a probe of that name: MQTT 3.1.1 has no place for it. */
export function probeProperties(name: string, protocol: 4 | 5) {
  return protocol === 5 ? { properties: { correlationData: Buffer.from(name) } } : {};
}

/** Whether a message to or from that client is a probe, which nobody wants to see. */
export function isProbe(client: string, { payload, properties }: Incoming): boolean {
  const mark = properties?.correlationData?.toString("latin1") ?? "";
  return payload.length === 0 && (PROBE.test(client) || PROBE.test(mark));
}
