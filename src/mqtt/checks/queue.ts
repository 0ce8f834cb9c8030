import { settlesWithin, startDeadline } from "../../base/async.ts";
import type { Diagnosis } from "../../base/contract.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import { randomClientId } from "../client/connection.ts";
import { type Incoming, probeProperties } from "../protocol/message.ts";
import {
  agentAddressOf,
  type PublishTopic,
  publishTopic,
  requestTopic,
} from "../protocol/topics.ts";
import { withSession } from "../requester/topic-session.ts";
import { type BrokerTarget, probeClients } from "./echo.ts";
import { type KeptVisits, whyNoSession, withKeptSession } from "./session.ts";

/** More than brokers queue for a client that is away if nobody told them otherwise: 1,000. */
const MESSAGES = 1_100;
const AT_ONCE = 100;
/** Milliseconds: of all, for an echo, to publish, and of silence after the last message. */
const TOTAL_MS = 7_000;
const ECHO_MS = 1_000;
const PUBLISH_MS = 3_000;
const QUIET_MS = 750;

const facts = (name: string) => ({ code: "broker.queue", name }) as const;

/** What stands in the report if nobody asked to measure. */
export function unmeasuredQueue(target: BrokerTarget): Diagnosis {
  const how = `not measured; picoclaw doctor --queue does it, with ${MESSAGES} empty messages`;
  return { ...facts(target.name), result: "skip", message: whyNoSession(target) ?? how };
}

/**
 * Measures how many messages the broker queues for a client that is away, and acknowledges without a word that it
 * drops the rest: leaves a session behind, publishes empty messages to it, and counts what comes.
 */
export async function queueCheck(target: BrokerTarget): Promise<Diagnosis> {
  const { broker, name } = target;
  if (whyNoSession(target) !== undefined) return unmeasuredQueue(target);
  const deadline = startDeadline(TOTAL_MS, { parent: target.signal, reason: tooSlow });
  try {
    const measured = { ...target, signal: deadline.signal };
    const found = await withKeptSession(measured, (kept) => measure(measured, kept));
    return { ...facts(name), ...reportOf(broker, found) };
  } catch (thrown) {
    target.signal.throwIfAborted();
    return { ...facts(name), result: "skip", message: `${broker}: ${asFailure(thrown).message}` };
  } finally {
    deadline.close();
  }
}

function tooSlow(milliseconds: number): Failure {
  return new Failure("failed", `the queue was not measured within ${milliseconds / 1000} s`);
}

interface Measured {
  readonly sent: number;
  readonly came: number;
}

function reportOf(broker: string, { sent, came }: Measured) {
  if (came >= sent) {
    const message = `${broker}: queued all ${sent} messages for a client that was away`;
    return { result: "ok", message } as const;
  }
  return {
    result: "warn",
    message: `${broker} queued ${came} of ${sent} messages for a client that was away, and dropped the others, which it had acknowledged`,
    remedy:
      "raise the bound of a queue (mosquitto: max_queued_messages, EMQX: mqtt.max_mqueue_len, HiveMQ: queued-messages, VerneMQ: max_offline_messages; docs/delivery.md)",
  } as const;
}

async function measure(target: BrokerTarget, kept: KeptVisits): Promise<Measured> {
  const topic = await subscribed(target, kept);
  const sent = await publishAll(target, topic);
  const progress = { came: 0, next: Promise.withResolvers<void>() };
  const count = (message: Incoming): void => {
    if (!isProbeOn(topic, message)) return;
    progress.came += 1;
    progress.next.resolve();
  };
  await kept.visit(async ({ resumed }) => {
    if (!resumed) throw new Failure("failed", "it forgets the session of a client that is away");
    while (progress.came < sent) {
      if (!(await settlesWithin(progress.next.promise, QUIET_MS, target.signal))) return;
      progress.next = Promise.withResolvers();
    }
  }, count);
  return { sent, came: progress.came };
}

function isProbeOn(topic: PublishTopic, message: Incoming): boolean {
  return message.topic === topic && message.payload.length === 0 && !message.retain;
}

/** Subscribes the session to the first topic whose messages come back to this user. */
async function subscribed(target: BrokerTarget, kept: KeptVisits): Promise<PublishTopic> {
  for (const topic of await topicsFor(target)) {
    const heard = Promise.withResolvers<void>();
    const take = (message: Incoming): void => {
      if (isProbeOn(topic, message)) heard.resolve();
    };
    const isHeard = await kept
      .visit(async (session) => {
        await session.subscribe([topic], 1);
        await session.publish({ topic, payload: "", qos: 1, ...markOf(session.protocol) });
        return settlesWithin(heard.promise, ECHO_MS, target.signal);
      }, take)
      .catch((error: unknown) => {
        // Some brokers end the connection for what the access list forbids.
        target.signal.throwIfAborted();
        if (!(error instanceof Failure)) throw error;
        return false;
      });
    if (isHeard) return topic;
  }
  throw new Failure("failed", "no message of this user comes back to it, so none can be counted");
}

/** A topic to which no gateway subscribes; where an access list forbids it, the user's own requests. */
async function topicsFor({ settings }: BrokerTarget): Promise<readonly PublishTopic[]> {
  const address = agentAddressOf(settings);
  const [random = "", ...own] = await probeClients(settings);
  const free = publishTopic(`${address.prefix}/${address.agent}/${random}/queue`);
  return [free, ...own.map((client) => requestTopic(address, client))];
}

const NAME = randomClientId("picoclaw-doctor");

function markOf(protocol: 4 | 5) {
  return probeProperties(NAME, protocol);
}

/** Publishes as many as the time allows; returns how many the broker acknowledged. */
async function publishAll(target: BrokerTarget, topic: PublishTopic): Promise<number> {
  const end = performance.now() + PUBLISH_MS;
  return withSession(target, undefined, async (session) => {
    const message = { topic, payload: "", qos: 1, ...markOf(session.protocol) } as const;
    let sent = 0;
    while (sent < MESSAGES && performance.now() < end) {
      await Promise.all(Array.from({ length: AT_ONCE }, () => session.publish(message)));
      sent += AT_ONCE;
    }
    return sent;
  });
}
