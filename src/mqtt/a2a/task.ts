import type { Failure } from "../../base/failure.ts";
import type { ChannelRequest } from "../contract.ts";
import { REQUEST_EXPIRED, RESPONDER_UNAVAILABLE, type Task, type TaskState } from "./rpc.ts";

/** A request as the gateway knows it, also of a former process and of other gateways. */
export interface KnownRequest extends Pick<ChannelRequest, "context"> {
  readonly hasBegun: boolean;
  /** Undefined while it has none. */
  readonly answer: { readonly text: string; readonly failure?: Failure } | undefined;
}

interface End {
  readonly state: TaskState;
  /** The code of an error of the binding that says it. */
  readonly error?: number;
}

/** How a task ends whose answer is an error; it has failed if its code is not here. */
const ENDS: Partial<Readonly<Record<Failure["code"], End>>> = {
  cancelled: { state: "CANCELED" },
  expired: { state: "REJECTED", error: REQUEST_EXPIRED },
  busy: { state: "REJECTED", error: RESPONDER_UNAVAILABLE },
  rate_limited: { state: "REJECTED" },
  budget: { state: "REJECTED" },
  forbidden: { state: "REJECTED" },
  bad_request: { state: "REJECTED" },
  too_large: { state: "REJECTED" },
};

export function endOf({ code }: Failure): End {
  return ENDS[code] ?? { state: "FAILED" };
}

/** The task of a request. */
export function taskOf(taskId: string, { context, hasBegun, answer }: KnownRequest): Task {
  const names = { taskId, contextId: context ?? taskId };
  if (answer === undefined)
    return { ...names, state: hasBegun ? "WORKING" : "SUBMITTED", text: "" };
  const { text, failure } = answer;
  if (failure === undefined) return { ...names, state: "COMPLETED", text };
  return { ...names, state: endOf(failure).state, text: failure.message };
}
