import type { Allowance } from "../../base/contract.ts";
import type { Caller, Permissions } from "../access/permissions.ts";
import type { ToolDefinition } from "../model/contract.ts";

/** What a tool is told about the call beside its arguments. */
export interface CallContext extends Caller {
  /** Aborted at the call's deadline, by /stop and at shutdown. */
  readonly signal: AbortSignal;
  /** The question came over a channel, not from someone at this machine. */
  readonly isRemote: boolean;
  /** Who asks, in one opaque word: what a tool keeps between calls it keeps for each owner apart. */
  readonly owner: string;
  /** What who asks may do; a tool looks at what is about itself. */
  readonly permissions: Permissions;
  /** What the call may use where it asks a model; no limit where it is left out. */
  readonly allowance?: Allowance | undefined;
}

/** Something a model can call. Its text is data for the model: the result, or in words why there is none. */
export interface Tool extends ToolDefinition {
  /** It changes what other calls may look at: no other call of the turn runs beside it. */
  readonly exclusive?: true;
  /** Milliseconds one call may take; 30 s. */
  readonly milliseconds?: number;
  /** Characters of a result; 10,000. What is longer is cut, and the model is told. */
  readonly characters?: number;
  /** The arguments as `run` will read them, slips whose meaning is clear mended; as they are where it is left out. */
  coerce?(input: unknown): unknown;
  /** Takes the parsed arguments, whatever they are. May throw; may ignore the signal: its caller copes. */
  run(input: unknown, call: CallContext): Promise<string>;
}
