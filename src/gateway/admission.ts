import { commandIn, isStopCommand } from "../base/command.ts";
import { Failure } from "../base/failure.ts";
import { AnswerStream } from "./answer/answer-stream.ts";
import { isAllowed } from "./channel-policy.ts";
import type { ChannelPolicy } from "./channel-policy.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./contract.ts";
import type { Dedupe, Storing } from "./dedupe.ts";
import { failureOf, queueFull, shuttingDown } from "./errors.ts";
import type { InFlight } from "./in-flight.ts";
import { isExpired } from "./request/pending-request.ts";
import type { RequestQueue } from "./request/request-queue.ts";
import type { Accounting } from "./usage/accounts.ts";

export interface AdmissionOptions {
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  readonly accounting: Pick<Accounting, "consumeRateLimit" | "overBudget">;
  readonly dedupe: Dedupe<AnswerStream | Storing>;
  readonly queue: Pick<RequestQueue<unknown>, "hasRoom" | "runs" | "secondsUntilRoom">;
  readonly clock: Pick<Clock, "epoch">;
  readonly inFlight: Pick<InFlight, "isClosed">;
}

/** What is decided before the store is read and the rate limit is used. */
export type Triage =
  /** The same request waits, runs or is being delivered in this process. */
  | { readonly to: "join"; readonly answer: AnswerStream }
  /** The same request is being stored. */
  | { readonly to: "await"; readonly storing: Storing }
  /** Neither accepted nor acknowledged: the transport holds it for the next start. */
  | { readonly to: "hold" }
  | { readonly to: "reject"; readonly failure: Failure }
  | { readonly to: "decide"; readonly policy: ChannelPolicy };

/** The decision about a new request. */
export type Verdict =
  | { readonly to: "run" }
  | { readonly to: "reject"; readonly failure: Failure }
  /** The command /stop. Over the rate limit it still works, but is not remembered for duplicates. */
  | { readonly to: "stop"; readonly remember: boolean };

/** Seconds until a restarted gateway may be back. */
const RESTART_SECONDS = 5;

/** Decides whether a request runs. */
export class Admission {
  readonly #options: AdmissionOptions;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Order: 1 allow list, 2 duplicates of running requests, 3 shutdown. */
  triage(request: Request): Triage {
    const { policies, dedupe, inFlight } = this.#options;
    const policy = policies.get(request.channel);
    if (policy === undefined) return reject(unknownChannel(request.channel));
    if (!isAllowed(policy, request.client)) return reject(failureOf("forbidden"));
    const running = dedupe.running(request);
    if (running instanceof AnswerStream) return { to: "join", answer: running };
    if (running !== undefined) return { to: "await", storing: running };
    if (inFlight.isClosed && request.durable && !isStopCommand(request.text)) return { to: "hold" };
    return { to: "decide", policy };
  }

  /**
   * Order: 1 malformed, 2 /stop, 3 shutdown and expiry, 4 budget and queue, 5 rate limit. A rejection at
   * step 4 costs no token. Takes a token for each admitted request. `hasRoom` is false when the store is full;
   * `elsewhere` is the number of the client's requests without an answer that other gateways have.
   */
  decide(request: Request, policy: ChannelPolicy, hasRoom: boolean, elsewhere?: number): Verdict {
    const { queue, clock, accounting, inFlight } = this.#options;
    if (request.rejected !== undefined) return reject(request.rejected);
    if (isStopCommand(request.text)) {
      return { to: "stop", remember: accounting.consumeRateLimit(request, policy) === undefined };
    }
    if (inFlight.isClosed) return reject(shuttingDown("busy", RESTART_SECONDS));
    if (isExpired(request, clock)) return reject(failureOf("expired"));
    const overBudget =
      commandIn(request.text) !== undefined ? undefined : accounting.overBudget(request, policy);
    if (overBudget !== undefined) return reject(overBudget);
    if (!hasRoom || !queue.hasRoom(request, policy, elsewhere)) {
      return reject(queueFull(queue.runs(request), queue.secondsUntilRoom()));
    }
    const limited = accounting.consumeRateLimit(request, policy);
    return limited === undefined ? { to: "run" } : reject(limited);
  }

  /** Why a push is refused, which counts for no rate limit; undefined if it is taken. A ready one needs no turn. */
  refusalOfPush(
    request: Request,
    policy: ChannelPolicy,
    hasRoom: boolean,
    turn?: { readonly elsewhere?: number | undefined },
  ): Failure | undefined {
    const { queue, clock, accounting, inFlight } = this.#options;
    if (!isAllowed(policy, request.client)) return failureOf("forbidden");
    if (inFlight.isClosed) return shuttingDown("busy", RESTART_SECONDS);
    if (isExpired(request, clock)) return failureOf("expired");
    const overBudget = turn && accounting.overBudget(request, policy);
    if (overBudget !== undefined) return overBudget;
    if (hasRoom && (!turn || queue.hasRoom(request, policy, turn.elsewhere))) return undefined;
    return queueFull(queue.runs(request), queue.secondsUntilRoom());
  }
}

function reject(failure: Failure): { readonly to: "reject"; readonly failure: Failure } {
  return { to: "reject", failure };
}

export function unknownChannel(channel: string): Failure {
  const why = `the gateway was given no policy for the channel ${channel}`;
  return new Failure("internal", "something went wrong inside picoclaw", { why });
}
