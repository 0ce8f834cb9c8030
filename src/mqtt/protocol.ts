import type { Log } from "../base/log.ts";
import { unanswered } from "./reasons.ts";
import { ConnectError, type Session } from "./session.ts";

interface ProtocolChoice {
  readonly wanted: "auto" | 4 | 5;
  readonly connectTimeoutMs: number;
  readonly log: Log;
  /** Throws a `ConnectError`. */
  readonly connect: (protocol: 4 | 5) => Promise<Session>;
}

/**
 * MQTT 5 first where the configuration leaves it open, 3.1.1 where the broker does not speak 5: some say so
 * in a CONNACK, some hang up, some say nothing. What worked is remembered for the life of the process; 3.1.1
 * after mere silence, which a slow network explains as well, only until the next attempt that fails.
 */
export function createProtocolChooser({ wanted, connect, ...rest }: ProtocolChoice) {
  const { connectTimeoutMs, log } = rest;
  let known: 4 | 5 | undefined = wanted === "auto" ? undefined : wanted;
  let isGuess = false;
  let spoke5 = false;
  const connectKnown = async (protocol: 4 | 5): Promise<Session> => {
    try {
      return await connect(protocol);
    } catch (error) {
      // Another broker may have taken this one's place: find out anew what it speaks.
      if (wanted !== "auto" || !(isOlder(error) || (isGuess && error instanceof ConnectError))) {
        throw error;
      }
      known = undefined;
      const { verdict } = error.refusal;
      throw new ConnectError({
        ...error.refusal,
        verdict: verdict === "older" ? "later" : verdict,
      });
    }
  };
  return async (): Promise<Session> => {
    if (known !== undefined) return connectKnown(known);
    try {
      const session = await connect(5);
      known = 5;
      spoke5 = true;
      isGuess = false;
      return session;
    } catch (error) {
      isGuess = isUnanswered(error) && !spoke5;
      if (!isOlder(error) && !isGuess) throw error;
    }
    const session = await connect(4).catch((error: unknown) => {
      if (!isGuess || !isUnanswered(error)) throw error;
      throw new ConnectError(unanswered(connectTimeoutMs, ", neither on MQTT 5 nor on 3.1.1"));
    });
    known = 4;
    log.info("the broker speaks MQTT 3.1.1");
    return session;
  };
}

/** The broker may speak 3.1.1 alone: it said so, or hung up at the sight of MQTT 5. */
function isOlder(error: unknown): error is ConnectError {
  return (
    error instanceof ConnectError &&
    (error.refusal.verdict === "older" || error.refusal.hungUp === true)
  );
}

function isUnanswered(error: unknown): boolean {
  return error instanceof ConnectError && error.refusal.unanswered === true;
}
