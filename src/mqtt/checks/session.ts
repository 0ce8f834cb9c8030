import type { Diagnosis } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import { Connection, randomClientId } from "../client/connection.ts";
import type { BrokerTarget } from "./echo.ts";

/** Not clean: on MQTT 3.1.1 a clean session ends with its connection. */
const KEPT = { seconds: 60, cleanStart: false };
/** Longer than any use of such a connection. */
const NEVER_MS = 600_000;
const MAX_PACKET = 65_536;

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
async function visit(
  { settings, connectTimeoutMs, log, signal }: BrokerTarget,
  clientId: string,
  sessionExpiry: typeof KEPT | undefined,
): Promise<boolean> {
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const connection = new Connection({
    settings,
    clientId,
    connectTimeoutMs,
    reconnectMs: NEVER_MS,
    maximumPacketBytes: MAX_PACKET,
    sessionExpiry,
    log,
    onMessage: () => undefined,
    onSession: () => Promise.resolve(),
    onLoss: failed.reject,
  });
  void connection.ended.then((failure) => failure && failed.reject(failure));
  try {
    const session = await Promise.race([connection.ready(signal), failed.promise]);
    return session.resumed;
  } finally {
    await connection.close().catch(() => {});
  }
}
