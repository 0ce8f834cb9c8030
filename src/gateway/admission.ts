import { Failure } from "../base/failure.ts";
import type { Accounting } from "./accounts/accounting.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./contract.ts";
import type { Dedupe } from "./dedupe.ts";
import { failureOf, shuttingDown } from "./failures.ts";
import { isExpired } from "./job.ts";
import type { Known } from "./known.ts";
import { isAllowed } from "./limits.ts";
import type { ChannelPolicy } from "./limits.ts";
import type { Work } from "./work.ts";

export interface AdmissionOptions {
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  readonly accounting: Pick<Accounting, "charge" | "overdrawn">;
  readonly dedupe: Dedupe<Known>;
  readonly work: Pick<Work<never>, "hasRoom" | "secondsUntilRoom">;
  readonly clock: Pick<Clock, "epoch">;
  /** Whether the gateway still takes requests. */
  readonly isOpen: () => boolean;
}

/** What is to be done with a request. */
export type Decision =
  | { readonly to: "run"; readonly policy: ChannelPolicy }
  | { readonly to: "refuse"; readonly failure: Failure }
  /** The same request is under way, or was answered a while ago. */
  | { readonly to: "join" | "repeat"; readonly known: Known }
  /** The request is the command to stop; without a token it is obeyed, but not remembered. */
  | { readonly to: "stop"; readonly remember: boolean }
  /** Not taken and not acknowledged: the transport holds it for the next start. */
  | { readonly to: "leave" };

/** Seconds until a gateway that shuts down may be back. */
const RESTART_SECONDS = 5;

/**
 * Decides, in this order: who is not allowed hears nothing else; a request that is known needs
 * neither room nor, while it runs, a token, so that a retry never ends in an error what is going
 * well; to stop is always allowed; and a refusal for want of room or of budget costs no token. A command
 * is for the agent to answer, whatever was spent: most ask no model, and the others are told then.
 */
export function createAdmission(options: AdmissionOptions): (request: Request) => Decision {
  const { policies, dedupe, work, clock, accounting } = options;
  const charge = (request: Request, policy: ChannelPolicy, decision: Decision): Decision => {
    const failure = accounting.charge(request, policy);
    return failure === undefined ? decision : refuse(failure);
  };
  return (request) => {
    const policy = policies.get(request.channel);
    if (policy === undefined) return refuse(unknownChannel(request.channel));
    if (!isAllowed(policy, request.client)) return refuse(failureOf("forbidden"));

    const running = dedupe.running(request);
    if (running !== undefined) return { to: "join", known: running };
    const finished = dedupe.finished(request);
    if (finished !== undefined) return charge(request, policy, { to: "repeat", known: finished });
    if (isStop(request.text)) {
      return { to: "stop", remember: accounting.charge(request, policy) === undefined };
    }

    if (!options.isOpen()) {
      return request.durable ? { to: "leave" } : refuse(shuttingDown("busy", RESTART_SECONDS));
    }
    if (isExpired(request, clock)) return refuse(failureOf("expired"));
    const overdrawn = isCommand(request.text) ? undefined : accounting.overdrawn(request, policy);
    if (overdrawn !== undefined) return refuse(overdrawn);
    if (!work.hasRoom(request, policy)) return refuse(failureOf("busy", work.secondsUntilRoom()));
    return charge(request, policy, { to: "run", policy });
  };
}

function refuse(failure: Failure): Decision {
  return { to: "refuse", failure };
}

function isStop(text: string): boolean {
  return /^[/!]stop$/i.test(text.trim());
}

function isCommand(text: string): boolean {
  return /^\s*[/!][a-z]/i.test(text);
}

function unknownChannel(channel: string): Failure {
  const why = `the gateway was given no policy for the channel ${channel}`;
  return new Failure("internal", "something went wrong inside picoclaw", { why });
}
