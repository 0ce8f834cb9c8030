import type { Caller } from "../access/permissions.ts";

/** A tool call as a hook sees it. */
export interface HookedCall extends Caller {
  readonly tool: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** Aborted with the turn. */
  readonly signal: AbortSignal;
}

/** The result of the hooks: the call to run, possibly changed, or an `answer` in its place, perhaps because it is denied. */
export type Verdict =
  | { readonly tool: string; readonly arguments: Readonly<Record<string, unknown>> }
  | { readonly answer: string; readonly isDenied?: true };

/**
 * The owner's programs that decide about tool calls. A hook that fails (cannot be started, dies, is too slow,
 * sends an invalid answer) denies. `before` and `after` throw a `Failure` with code `forbidden` if a hook
 * ends the turn, and the signal's reason.
 */
export interface ToolHooks {
  /** Calls all hooks of `before_tool`, then those of `approve_tool`. */
  before(call: HookedCall): Promise<Verdict>;
  /** Calls all hooks of `after_tool`. Returns the result for the model. */
  after(call: HookedCall, result: string, milliseconds: number): Promise<string>;
  /** Ends the processes of the hooks within four seconds. */
  close(): Promise<void>;
}
