import type { Allowance, Image } from "../../base/contract.ts";
import type { Caller, Permissions } from "../access/permissions.ts";
import type { ToolDefinition } from "../model/contract.ts";

/** What a tool gets besides its arguments. */
export interface CallContext extends Caller {
  /** Aborted at the call's deadline, by /stop and at shutdown. */
  readonly signal: AbortSignal;
  /** The request came over a channel, not from this machine. */
  readonly isRemote: boolean;
  /** Identifies the caller, opaque. A tool that keeps state between calls keeps it for each owner separately. */
  readonly owner: string;
  /** What the caller may do. A tool checks the part that concerns it. */
  readonly permissions: Permissions;
  /** The budget of the call, if it asks a model; no limit if absent. */
  readonly allowance?: Allowance | undefined;
  /** A person has allowed this call. */
  readonly isConfirmed?: boolean;
  /** The JSON of its effect, if that was asked about: it must have no other. */
  readonly confirmed?: string | undefined;
  /** Called when the call is refused, for the log. */
  readonly onRefusal?: (() => void) | undefined;
  /** Shows the model an image with the result; absent if no model reads it. */
  readonly showImage?: (image: Image) => void;
}

/** A tool cannot or must not do its work. The message is a sentence for the model. */
export class ToolError extends Error {
  override readonly name = "ToolError";
}

/** A confirmed call would do something else now. */
export function hasOtherEffect({ name }: Pick<Tool, "name">): ToolError {
  return new ToolError(`${name} was not run: it would do something else now than was confirmed`);
}

/** A tool must not do its work: the caller may not, or a rule of the owner forbids it. */
export class RefusedCall extends ToolError {}

/**
 * The text that the work returns, or that of the `ToolError` that it throws; of a `RefusedCall`, `onRefusal` hears
 * as well.
 */
export async function resultOf(
  work: () => Promise<string>,
  { onRefusal }: Pick<CallContext, "onRefusal">,
): Promise<string> {
  try {
    return await work();
  } catch (thrown) {
    if (thrown instanceof RefusedCall) onRefusal?.();
    if (thrown instanceof ToolError) return `error: ${thrown.message}`;
    throw thrown;
  }
}

/** What a call publishes, or has run later. */
export type Effect = { readonly publishes: object } | { readonly runs: object };

type Classes = readonly string[] | undefined;

/**
 * A function that a model can call. Its result is text for the model; an error begins with `error: `.
 * `defineTool` makes one, and `toolbox.ts` lists it.
 */
export interface Tool extends ToolDefinition {
  /** What profiles call it; its name if absent. */
  readonly permission?: string;
  /** The tool changes what other calls may read: no other call of the turn runs at the same time. */
  readonly exclusive?: true;
  /** Time limit of one call in milliseconds; default 30 s. */
  readonly milliseconds?: number;
  /** Characters of a result; default 10,000. A longer one is cut, with a note for the model. */
  readonly characters?: number;
  /**
   * The classes of what the call acts on, such as that of a device; undefined if it changes nothing. Left out:
   * there are none. Throws a `ToolError` if the call cannot do its work.
   */
  actsOn?(input: unknown, call: CallContext): Promise<Classes> | Classes;
  /**
   * What the call does as things are now, for the person who confirms it: if that is something else by then, it is not
   * made. Undefined, or left out: its arguments say all. Throws a `ToolError` if the call cannot do its work.
   */
  effect?(input: unknown, call: CallContext): Promise<Effect | undefined>;
  /** The arguments as `run` reads them, with clear slips corrected. Absent: `run` reads them as they are. */
  coerce?(input: unknown): unknown;
  /** Runs with the parsed arguments, which may be anything. May throw, and may ignore the signal. */
  run(input: unknown, call: CallContext): Promise<string>;
}
