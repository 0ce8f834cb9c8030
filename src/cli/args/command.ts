import type { FlagName } from "./flags.ts";

export type CommandName =
  | "onboard"
  | "try"
  | "gateway"
  | "send"
  | "listen"
  | "agent"
  | "agents"
  | "doctor"
  | "status"
  | "sessions"
  | "jobs"
  | "mcp"
  | "store"
  | "acl"
  | "config"
  | "service"
  | "logs"
  | "completion"
  | "version"
  | "help";

/** A command for help, completion and the parser. Its code is in `commands/<name>.ts`. */
export interface Command {
  readonly name: CommandName;
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** Its positional arguments, in order. */
  readonly arguments: readonly Argument[];
  readonly flags: readonly FlagName[];
  /** Paragraphs for its help. */
  readonly detail?: readonly string[];
  readonly examples: readonly Example[];
  /** The possible exit codes besides 0, 1 and 2. */
  readonly exits?: readonly number[];
  /** With --json it always prints exactly one `result` line. */
  readonly endsWithResult?: true;
}

interface Argument {
  readonly name: string;
  readonly required?: true;
  /** Takes all remaining words. */
  readonly rest?: true;
  /** The allowed values; any value if absent. */
  readonly choices?: readonly string[];
}

interface Example {
  readonly line: string;
  readonly does: string;
}
