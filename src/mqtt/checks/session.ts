import type { Diagnosis } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import { randomClientId } from "../client/connection.ts";
import { withSession } from "../requester/topic-session.ts";
import type { BrokerTarget } from "./echo.ts";

/** Not clean: on MQTT 3.1.1 a clean session ends with its connection. */
const KEPT = { seconds: 60, cleanStart: false };

/**
 * Measures whether the broker keeps a session while a gateway is away, as it is for a restart: connects, disconnects,
 * and connects again. At QoS 0 a gateway has none.
 */
export async function sessionCheck(options: BrokerTarget): Promise<Diagnosis> {
  const { broker, name, settings, signal } = options;
  const facts = { code: "broker.session", name } as const;
  if (settings.qos === 0) {
    return { ...facts, result: "skip", message: "at QoS 0 a broker keeps nothing for a gateway" };
  }
  const clientId = randomClientId("picoclaw-doctor");
  try {
    await visit(options, clientId, KEPT);
    const isKept = await visit(options, clientId, KEPT);
    // Clean, and without an expiry: the broker forgets it.
    await visit(options, clientId, undefined);
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

/** Connects and disconnects; returns whether the broker had kept the session. */
function visit(
  target: BrokerTarget,
  clientId: string,
  sessionExpiry: typeof KEPT | undefined,
): Promise<boolean> {
  const session = { clientId, sessionExpiry };
  return withSession({ ...target, session }, undefined, ({ resumed }) => Promise.resolve(resumed));
}
