import { escapeControl } from "../../../../base/escape-control.ts";
import { truncate } from "../../../../base/truncate.ts";
import type { ExecSettings } from "../../../../config/contract.ts";
import type { CommandTexts } from "./command-text.ts";
import { denialOf } from "./deny-patterns.ts";
import { escapesOf } from "./paths.ts";
import type { Bounds } from "./paths.ts";

export interface PolicyOptions extends Bounds {
  readonly settings: Pick<
    ExecSettings,
    "enable_deny_patterns" | "custom_deny_patterns" | "custom_allow_patterns"
  >;
  /** Whether paths must stay in the folder where the command runs, or in the workspace. */
  readonly restrict: boolean;
  /** The text goes to the input of a running command, which need not be a shell. */
  readonly isInput?: boolean;
}

/** Characters of a reason: it may repeat a word of the command. */
const MAX_WHY = 200;
const BLOCKED = "Command blocked by safety guard";
const DANGEROUS = `${BLOCKED} (dangerous pattern detected)`;

/**
 * Why a command must not run, in the words that skills of the Go program know; undefined if it may.
 * This is a seat belt against mistakes of models: the text is parsed as bash parses it, and matched
 * against patterns. It does not stop an attacker. The sandbox is the protection.
 */
export async function checkCommand(
  command: string,
  options: PolicyOptions,
): Promise<string | undefined> {
  const { settings, restrict } = options;
  const lower = command.toLowerCase();
  const matches = (pattern: string): boolean => new RegExp(pattern).test(lower);
  const isAllowed = settings.custom_allow_patterns.some(matches);
  if (!isAllowed && settings.custom_deny_patterns.some(matches)) return DANGEROUS;
  if (!settings.enable_deny_patterns && !restrict) return undefined;
  // The parser is loaded with the first command.
  const { readCommand } = await import("./command-text.ts");
  const texts = readCommand(command);
  const isChecked = settings.enable_deny_patterns && !isAllowed;
  const danger = isChecked ? dangerOf(command, texts, options) : undefined;
  if (danger !== undefined) return `${DANGEROUS}: ${escapeControl(truncate(danger, MAX_WHY))}`;
  const isParsed = texts !== undefined && options.isInput !== true;
  const escapes = restrict ? escapesOf(isParsed ? texts.paths : [command], options) : undefined;
  return escapes && `${BLOCKED} ${escapes}`;
}

function dangerOf(
  command: string,
  texts: CommandTexts | undefined,
  { restrict, isInput = false }: PolicyOptions,
): string | undefined {
  if (texts === undefined) {
    const denied = denialOf([command], false);
    return denied ?? (restrict && !isInput ? "the shell could not read it" : undefined);
  }
  const [unknown] = texts.unknownPrograms;
  const denied = denialOf([...texts.programs, ...(isInput ? [command] : [])], true);
  if (denied !== undefined || unknown === undefined || !restrict || isInput) return denied;
  return `${unknown} stands for the name of a program; write it out`;
}
