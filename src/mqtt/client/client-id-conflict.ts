import { Failure } from "../../base/failure.ts";
import type { NextAttempt, NodeOutcome } from "./nodes.ts";
import { CLIENT_ID } from "./reasons.ts";

/** So many connections in a row that the broker closed soon and without a reason are reported. */
const SUSPICIOUS = 3;
/** So many of them in a row on which nothing was answered: then we wait longer. */
const PATIENT = 5;
/** A connection was closed soon if it lasted less than so many times our wait before it. */
const SOON = 4;
const MOST_MS = 60_000;
/** The part by which a wait is longer or shorter, at random. */
const SPREAD = 0.25;

interface ConflictOptions {
  readonly clientId: string;
  /** Several programs use it on purpose. */
  readonly sharesClientId?: boolean;
  readonly reconnectMs: number;
  /** Called when another program uses, or seems to use, our client id. */
  readonly onConflict?: (() => void) | undefined;
}

/** What follows from an outcome, and what to log. */
interface LoggedAttempt extends NextAttempt {
  readonly failure: Failure;
}

/**
 * Finds another program that uses the same client id: each connection of the one then ends that of the other
 * (MQTT 3.1.1 section 3.1.4). MQTT 5 has a reason code for it, which some brokers do not send. Two such programs that both dial
 * again at once would do so for ever: the waits become longer.
 */
export class ClientIdConflict {
  readonly #options: ConflictOptions;
  #closes = 0;
  #idleCloses = 0;
  #waitedMs: number;

  constructor(options: ConflictOptions) {
    this.#options = options;
    this.#waitedMs = options.reconnectMs;
  }

  next(outcome: NodeOutcome, attempt: NextAttempt): LoggedAttempt {
    const { refusal, connectedMs } = outcome;
    if (connectedMs !== undefined) {
      this.#count(outcome, connectedMs < SOON * Math.max(this.#waitedMs, attempt.waitMs));
    }
    const { clientId, sharesClientId = false, onConflict } = this.#options;
    const isSuspected = connectedMs !== undefined && this.#closes >= SUSPICIOUS;
    if (!sharesClientId && (isSuspected || refusal.takenOver === true)) onConflict?.();
    if (!isSuspected || sharesClientId) {
      this.#waitedMs = attempt.waitMs;
      return { ...attempt, failure: refusal.failure };
    }
    const failure = suspected(clientId);
    const waitMs = this.#longer(attempt.waitMs);
    return { refusal: { ...refusal, failure }, waitMs, failure };
  }

  #longer(milliseconds: number): number {
    const doublings = this.#idleCloses - PATIENT + 1;
    this.#waitedMs = milliseconds;
    if (doublings <= 0) return milliseconds;
    this.#waitedMs = Math.min(milliseconds * 2 ** doublings, MOST_MS);
    return this.#waitedMs * (1 - SPREAD + 2 * SPREAD * Math.random());
  }

  #count({ refusal, hasAnswered = false }: NodeOutcome, isSoon: boolean): void {
    const isClosedSoon = refusal.closedByBroker === true && isSoon;
    this.#closes = isClosedSoon ? this.#closes + 1 : 0;
    this.#idleCloses = isClosedSoon && !hasAnswered ? this.#idleCloses + 1 : 0;
  }
}

function suspected(clientId: string): Failure {
  return new Failure("unreachable", "the broker closes each connection soon, without a reason", {
    why: `many brokers do so when another program connects with the same client id (${clientId})`,
    remedy: CLIENT_ID,
  });
}
