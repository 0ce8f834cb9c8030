import type { Caller } from "../access/permissions.ts";

/** A call of a tool as a hook sees it. */
export interface HookedCall extends Caller {
  readonly tool: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** Aborted with the turn. */
  readonly signal: AbortSignal;
}

/** What hooks made of a call: it runs, maybe otherwise than the model wanted, or `answer` stands in its place. */
export type Verdict =
  | { readonly tool: string; readonly arguments: Readonly<Record<string, unknown>> }
  | { readonly answer: string };

/**
 * The owner's programs that are asked about calls of tools. A hook that fails (cannot be started, dies,
 * is too slow, answers what is no answer) denies. Both throw a `Failure` of code `forbidden` where a hook
 * ends the turn, and the signal's reason.
 */
export interface ToolHooks {
  /** Asks all hooks for `before_tool`, then for `approve_tool`. */
  before(call: HookedCall): Promise<Verdict>;
  /** Asks all hooks for `after_tool`: the result as the model may read it. */
  after(call: HookedCall, result: string, milliseconds: number): Promise<string>;
  /** Ends their processes, within four seconds. */
  close(): Promise<void>;
}
