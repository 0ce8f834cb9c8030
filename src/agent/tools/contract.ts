import type { ToolOutline } from "../model/contract.ts";

/** Something a model can call. Its text is data for the model: the result, or in words why there is none. */
export interface Tool extends ToolOutline {
  /** Takes the parsed arguments, whatever they are. May throw; may ignore the signal: its caller copes. */
  run(input: unknown, signal: AbortSignal): Promise<string>;
}
