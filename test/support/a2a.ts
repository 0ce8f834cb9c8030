import type { IPublishPacket } from "mqtt";
import type { Log } from "../../src/base/log.ts";
import type { MqttSettings } from "../../src/config/contract.ts";
import type { A2aOptions } from "../../src/mqtt/a2a/a2a.ts";
import { channelFor, openTestDevice, type TestDevice } from "./channel.ts";
import { until } from "./until.ts";

/** Of the agent `assistant` with the settings `A2A`. */
export const REQUESTS = "$a2a/v1/request/acme/house/assistant";
export const CARD = "$a2a/v1/discovery/acme/house/assistant";
const REPLIES = "$a2a/v1/reply/acme/house";
export const A2A = { enabled: true, org: "acme", unit: "house" };

/** For `withA2a`, with the settings `A2A` if no others are given. No request is kept, and none can be cancelled. */
export function a2aOptions(
  broker: string,
  log: Log,
  settings: Partial<MqttSettings> = { a2a: { ...channelFor("").settings.a2a, ...A2A } },
): A2aOptions {
  return {
    channel: channelFor(broker, settings),
    connectTimeoutMs: 5_000,
    reconnectMs: 20,
    info: { version: "0.0.0-test", instance: "here" },
    log,
    onRequest: async () => {},
    find: async () => undefined,
    cancel: async () => false,
  };
}

interface Event {
  readonly id: unknown;
  readonly result?: {
    readonly id?: string;
    readonly contextId?: string;
    readonly status?: { readonly state: string };
    readonly artifacts?: readonly {
      readonly parts: readonly { readonly text: string }[];
      readonly metadata?: object;
    }[];
    readonly statusUpdate?: {
      readonly taskId: string;
      readonly contextId: string;
      readonly status: { readonly state: string };
    };
    readonly artifactUpdate?: {
      readonly artifact: { readonly parts: readonly { readonly text: string }[] };
      readonly append: boolean;
      readonly lastChunk: boolean;
    };
  };
  readonly error?: { readonly code: number; readonly data?: { readonly a2a_error: string } };
}

function eventOf({ payload }: IPublishPacket): Event {
  return JSON.parse(String(payload));
}

/** Another agent, as its own MQTT client. */
export class Caller implements AsyncDisposable {
  readonly device: TestDevice;
  readonly topic: string;

  constructor(device: TestDevice, topic: string) {
    this.device = device;
    this.topic = topic;
  }

  async send(payload: object | string, correlation = "c", topic = this.topic): Promise<void> {
    const properties = { responseTopic: topic, correlationData: Buffer.from(correlation) };
    const text = typeof payload === "string" ? payload : JSON.stringify(payload);
    await this.device.client.publishAsync(REQUESTS, text, { qos: 1, properties });
  }

  events(correlation?: string): Event[] {
    const isOurs = ({ properties }: IPublishPacket): boolean =>
      correlation === undefined || String(properties?.correlationData) === correlation;
    return this.device.messages.filter(isOurs).map(eventOf);
  }

  states(correlation?: string): string[] {
    const updates = this.events(correlation).flatMap(({ result }) => result?.statusUpdate ?? []);
    return updates.map(({ status }) => status.state.replace("TASK_STATE_", ""));
  }

  text(correlation?: string): string {
    const pieces = this.events(correlation).flatMap(({ result }) => result?.artifactUpdate ?? []);
    return pieces.reduce((text, { artifact, append }) => {
      const piece = artifact.parts.map((part) => part.text).join("");
      return append ? text + piece : piece;
    }, "");
  }

  ended(correlation?: string): Promise<void> {
    return until(`${correlation} has ended`, () =>
      this.states(correlation).some((state) => /COMPLETED|FAILED|CANCELED|REJECTED/.test(state)),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.device[Symbol.asyncDispose]();
  }
}

export async function openCaller(broker: string, requester: string): Promise<Caller> {
  const topic = `${REPLIES}/${requester}/s1`;
  return new Caller(await openTestDevice(broker, topic), topic);
}

export function asking(
  taskId: string,
  text: string,
  contextId?: string,
  method = "SendStreamingMessage",
) {
  const message = { messageId: "m", role: "ROLE_USER", parts: [{ text }], taskId, contextId };
  return { jsonrpc: "2.0", id: `rpc-${taskId}`, method, params: { message } };
}

export function taskCall(method: "GetTask" | "CancelTask", id: string) {
  return { jsonrpc: "2.0", id: `${method}-${id}`, method, params: { id } };
}

/** User properties of a card. */
export function facts(status: string, source: string) {
  return { "a2a-status": status, "a2a-status-source": source };
}

/** What the cards said of the agent so far. */
export function saidBy({ messages }: TestDevice): string[] {
  return messages.map(
    ({ properties }) =>
      `${String(properties?.userProperties?.["a2a-status"])} ${String(properties?.userProperties?.["a2a-status-source"])}`,
  );
}
