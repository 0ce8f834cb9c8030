import type { Diagnosis } from "../../base/contract.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import { parseBroker } from "../../config/broker.ts";
import { randomClientId } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import type { Incoming } from "../protocol/message.ts";
import { agentAddressOf, requestTopic } from "../protocol/topics.ts";
import { withSession } from "../requester/topic-session.ts";
import type { BrokerTarget } from "./echo.ts";

/** Not clean: on MQTT 3.1.1 a clean session ends with its connection. */
const KEPT = { seconds: 60, cleanStart: false };
/** Milliseconds to end the session at the broker, also after a signal; on MQTT 5 it then expires by itself. */
const FORGET_MS = 2_000;

/** A session that the broker keeps from one visit to the next. */
export interface KeptVisits {
  /** Connects, works and disconnects. */
  visit<T>(
    work: (session: Session, lost: Promise<never>) => Promise<T>,
    onMessage?: (message: Incoming) => void,
  ): Promise<T>;
}

/** Hands over a session of its own, and lets the broker forget it at the end, also after a signal. */
export async function withKeptSession<T>(
  target: BrokerTarget,
  work: (kept: KeptVisits) => Promise<T>,
): Promise<T> {
  const clientId = randomClientId("picoclaw-doctor");
  const kept = { ...target, session: { clientId, sessionExpiry: KEPT } };
  try {
    return await work({
      visit: (visitor, onMessage) => withSession(kept, onMessage, visitor),
    });
  } finally {
    // Clean, and without an expiry.
    const signal = AbortSignal.timeout(FORGET_MS);
    const forgetting = { ...target, session: { clientId }, signal };
    await withSession(forgetting, undefined, () => Promise.resolve()).catch(() => {});
  }
}

/**
 * Measures whether the broker keeps a session while a gateway is away, as it is for a restart: connects, disconnects,
 * and connects again. At QoS 0 a gateway has none.
 */
export async function sessionCheck(options: BrokerTarget): Promise<Diagnosis> {
  const { broker, name, settings, signal } = options;
  const facts = { code: "broker.session", name } as const;
  const why = whyNoSession(options);
  if (why !== undefined) return { ...facts, result: "skip", message: why };
  const filter = requestTopic(agentAddressOf(settings), randomClientId("doctor"));
  try {
    const isKept = await withKeptSession(options, async (kept) => {
      await kept.visit((session) => subscribeIfAllowed(session, filter));
      return kept.visit(({ resumed }) => Promise.resolve(resumed));
    });
    if (isKept) {
      return {
        ...facts,
        result: "ok",
        message: `${broker}: keeps requests while a gateway is away`,
      };
    }
  } catch (thrown) {
    signal.throwIfAborted();
    return { ...facts, result: "skip", message: `${broker}: ${asFailure(thrown).message}` };
  }
  return {
    ...facts,
    result: "warn",
    message: `${broker} forgets the session of a gateway that disconnects: requests that come meanwhile are lost`,
    remedy: "let the broker keep sessions (mosquitto: persistent_client_expiration)",
  };
}

/** Why a broker keeps no session for a gateway, whatever it could. */
export function whyNoSession({ broker, settings }: BrokerTarget): string | undefined {
  if (settings.qos === 0) return "at QoS 0 a broker keeps nothing for a gateway";
  const isBuiltIn = parseBroker(broker).kind === "embedded";
  return isBuiltIn ? "the built-in broker ends with its gateway" : undefined;
}

/** Some brokers keep no session without a subscription. */
async function subscribeIfAllowed(session: Session, filter: string): Promise<void> {
  await session.subscribe([filter], 1).catch((error: unknown) => {
    if (!(error instanceof Failure)) throw error;
  });
}
