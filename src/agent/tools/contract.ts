import type { ToolOutline } from "../model/contract.ts";

/** What a tool is told about the call beside its arguments. */
export interface CallFacts {
  /** Aborted at the call's deadline, by /stop and at shutdown. */
  readonly signal: AbortSignal;
  /** Who asks: opaque. What a tool keeps between calls it keeps for each client apart. */
  readonly client: string;
  /** The question came over a channel, not from someone at this machine. */
  readonly isRemote: boolean;
}

/** Something a model can call. Its text is data for the model: the result, or in words why there is none. */
export interface Tool extends ToolOutline {
  /** It changes what other calls may look at: no other call of the turn runs beside it. */
  readonly alone?: true;
  /** Milliseconds one call may take; 30 s. */
  readonly milliseconds?: number;
  /** Characters of a result; 10,000. What is longer is cut, and the model is told. */
  readonly characters?: number;
  /** Takes the parsed arguments, whatever they are. May throw; may ignore the signal: its caller copes. */
  run(input: unknown, call: CallFacts): Promise<string>;
}
