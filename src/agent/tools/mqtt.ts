import * as v from "valibot";
import { TimeoutError, createFairSemaphore } from "../../base/async.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import {
  coversFilter,
  filtersOverlap,
  isTopicFilter,
  isTopicName,
  matchesFilter,
} from "../../base/topic-filter.ts";
import { truncate } from "../../base/truncate.ts";
import { textAt } from "../../base/unknown.ts";
import type { TopicPermissions } from "../access/permissions.ts";
import { RefusedCall, ToolError } from "./contract.ts";
import type { CallContext, Tool } from "./contract.ts";
import { defineTool, flagField, textField } from "./define.ts";
import { isText, textOf } from "./files/text.ts";
import { HELD_BACK } from "./web/secret-leak.ts";
import type { HoldsSecret } from "./web/secret-leak.ts";

const MAX_SECONDS = 10;
const SECONDS = 2;
const MAX_MESSAGES = 50;
const MESSAGES = 20;
/** Bytes of all payloads of one read, and of one that is published. */
const MAX_READ = 64 * 1024;
const MAX_PAYLOAD = 64 * 1024;
/** Characters of one payload in an answer. */
const MAX_SHOWN = 2_000;
/** Calls at the same time, of all clients and of one. Each opens a connection to a broker. */
const SIDE_BY_SIDE = 4;
const OF_ONE = 2;
const SLOT_MS = 5_000;

const input = v.object({
  action: v.picklist(["read", "publish"]),
  topic: textField("For read: a topic filter with + and #. For publish: a topic."),
  payload: v.optional(
    v.pipe(
      v.string(),
      v.maxLength(MAX_PAYLOAD, `a payload has at most ${MAX_PAYLOAD} characters`),
      v.description("For publish."),
    ),
  ),
  retain: v.optional(flagField("For publish: keep it as the topic's state."), false),
  qos: v.optional(v.pipe(v.picklist([0, 1]), v.description("For publish.")), 1),
  seconds: v.optional(
    v.pipe(
      v.number(),
      v.minValue(1),
      v.maxValue(MAX_SECONDS),
      v.description("For read: how long to wait for new messages."),
    ),
    SECONDS,
  ),
  count: v.optional(
    v.pipe(
      v.number(),
      v.integer(),
      v.minValue(1),
      v.maxValue(MAX_MESSAGES),
      v.description("For read: at most so many messages."),
    ),
    MESSAGES,
  ),
});

type Input = v.InferOutput<typeof input>;

/**
 * The tool that reads and publishes on the broker of the request, within the permissions of the caller. It
 * sends nothing that holds a secret.
 */
export function createMqttTool(topics: Topics, holdsSecret: HoldsSecret = () => false): Tool {
  const slots = createFairSemaphore(SIDE_BY_SIDE, OF_ONE);
  return defineTool({
    name: "mqtt",
    description:
      "Reads MQTT topics (retained and new messages) or publishes: sensors and actuators.",
    input,
    exclusive: true,
    characters: MAX_MESSAGES * (MAX_SHOWN + 300),
    actsOn: (wanted) => (textAt(wanted, "action") === "read" ? undefined : []),
    async run(wanted, call) {
      const bounds = { permissions: call.permissions.topics, trees: topics.trees() };
      const refuse = wanted.action === "read" ? refusalOfReading : refusalOfPublishing;
      const refusal = refuse(wanted.topic, bounds);
      if (refusal !== undefined) throw new RefusedCall(refusal);
      if ([wanted.topic, wanted.payload ?? ""].some(holdsSecret)) {
        throw new RefusedCall(`nothing was sent: ${HELD_BACK}`);
      }
      let release: (() => void) | undefined;
      try {
        release = await slots.acquire(call.owner, SLOT_MS, call.signal);
        return await (wanted.action === "read" ? read : publish)(topics, wanted, call);
      } catch (thrown) {
        call.signal.throwIfAborted();
        if (thrown instanceof Failure) throw new ToolError(thrown.message);
        if (!(thrown instanceof TimeoutError)) throw thrown;
        throw new ToolError("too many calls of this tool at the same time, try later");
      } finally {
        release?.();
      }
    },
  });
}

async function read(
  topics: Topics,
  { topic, seconds, count }: Input,
  { channel, signal }: CallContext,
): Promise<string> {
  const { messages, isCut } = await topics.read({
    channel,
    filter: topic,
    milliseconds: seconds * 1000,
    most: count,
    mostBytes: MAX_READ,
    signal,
  });
  if (messages.length === 0) return `[no message on ${shown(topic)} within ${seconds} s]`;
  const lines = messages.map(lineOf);
  return [...lines, ...(isCut ? ["… (there were more)"] : [])].join("\n");
}

/** One line, so that no payload can pass for a message of another topic. */
function lineOf({ topic, payload, retained }: TopicMessage): string {
  const mark = retained ? " (retained)" : "";
  if (!isText(payload)) return `${shown(topic)}${mark}: [${payload.length} bytes, not text]`;
  return `${shown(topic)}${mark}: ${escapeControl(truncate(textOf(payload), MAX_SHOWN))}`;
}

async function publish(
  topics: Topics,
  { topic, payload = "", retain, qos }: Input,
  { channel, signal }: CallContext,
): Promise<string> {
  const size = Buffer.byteLength(payload);
  if (size > MAX_PAYLOAD)
    throw new ToolError(`the payload has ${size} bytes; at most ${MAX_PAYLOAD} are allowed`);
  const { noMatchingSubscribers } = await topics.publish({
    channel,
    topic,
    payload,
    retain,
    qos,
    signal,
  });
  const heard = noMatchingSubscribers && !retain ? "; nobody was subscribed to it" : "";
  return `Published ${size} bytes to ${shown(topic)}${heard}.`;
}

/** What a caller may do, and what nobody may. */
interface TopicBounds {
  readonly permissions: TopicPermissions;
  /** The prefixes of the agents' own topics, with the conversations of clients. */
  readonly trees: readonly string[];
}

/** Why a filter must not be read, for the model; undefined if it may. */
function refusalOfReading(filter: string, { permissions, trees }: TopicBounds): string | undefined {
  if (!isTopicFilter(filter)) return `${shown(filter)} is not a topic filter`;
  const tree = trees.find((own) => filtersOverlap(`${own}/#`, filter));
  if (tree !== undefined) {
    return `${shown(filter)} reaches topics of the agent itself (${tree}), which are not read`;
  }
  if (permissions.read.some((allowed) => coversFilter(allowed, filter))) return undefined;
  return `this client may not read ${shown(filter)}, but ${listed(permissions.read)}`;
}

/** Why a topic must not be published to, for the model; undefined if it may. */
function refusalOfPublishing(
  topic: string,
  { permissions, trees }: TopicBounds,
): string | undefined {
  if (!isTopicName(topic) || topic.startsWith("$")) {
    return `nothing can be published to ${shown(topic)}: a topic must not contain +, # or NUL, nor begin with $`;
  }
  if (trees.some((own) => matchesFilter(`${own}/#`, topic))) {
    return `${shown(topic)} is a topic of the agent itself, where only it publishes`;
  }
  if (permissions.publish.some((allowed) => matchesFilter(allowed, topic))) return undefined;
  return `this client may not publish to ${shown(topic)}, but to ${listed(permissions.publish)}`;
}

/** Characters of a topic, and of all filters, in an answer. */
const MAX_TOPIC = 200;
const MAX_LIST = 500;

/** A topic, short and printable. */
function shown(topic: string): string {
  return escapeControl(truncate(topic, MAX_TOPIC));
}

function listed(filters: readonly string[]): string {
  return filters.length === 0 ? "nothing" : truncate(filters.join(", "), MAX_LIST);
}

/** The topics of the brokers that the program is connected to. */
export interface Topics {
  /** The prefixes of the topics of the agents in this process. No tool reads or publishes there. */
  readonly trees: () => readonly string[];
  /**
   * The retained messages that match the filter, and those that arrive within the time. Throws a `Failure`
   * if the broker cannot be reached or refuses, and the signal's reason.
   */
  read(wanted: TopicReading): Promise<TopicMessages>;
  /** Resolves when the broker has the message, as far as the QoS guarantees. Throws like `read`. */
  publish(message: TopicPublication): Promise<{ readonly noMatchingSubscribers: boolean }>;
}

interface Place {
  /** The channel whose broker is used; default: the first channel. */
  readonly channel?: string | undefined;
  readonly signal: AbortSignal;
}

interface TopicReading extends Place {
  readonly filter: string;
  readonly milliseconds: number;
  /** Messages, and bytes of all their payloads. */
  readonly most: number;
  readonly mostBytes: number;
}

interface TopicMessages {
  readonly messages: readonly TopicMessage[];
  /** There were more messages. */
  readonly isCut: boolean;
}

export interface TopicMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** The broker had stored it as the topic's state. */
  readonly retained: boolean;
}

interface TopicPublication extends Place {
  readonly topic: string;
  readonly payload: string;
  readonly retain: boolean;
  readonly qos: 0 | 1;
}
