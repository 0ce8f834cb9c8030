import { escapeControl } from "../../../../base/escape-control.ts";
import { truncate } from "../../../../base/truncate.ts";
import type { ExecSettings } from "../../../../config/contract.ts";
import type { Findings } from "./findings.ts";
import { formsOf, isCaught } from "./net.ts";
import { climbs, isProtected, leaves, leavesWord } from "./paths.ts";

export interface PolicyOptions {
  readonly settings: Pick<
    ExecSettings,
    "enable_deny_patterns" | "custom_deny_patterns" | "custom_allow_patterns"
  >;
  /** Whether paths must stay in the folder where the command runs, or in the workspace. */
  readonly restrict: boolean;
  /** Real paths. */
  readonly workspace: string;
  readonly cwd: string;
  /** Absolute paths beside that may be named, too. */
  readonly beside?: readonly string[];
  /** What runs it; bash where it is left out. */
  readonly shell?: "bash" | "sh";
  /** It goes to the input of whatever runs there, which need not be a shell. */
  readonly isInput?: boolean;
}

/** Characters of all words that may be paths: variables can make a short text long. */
const MOST_PATHS = 100_000;
/** Characters of a reason: it may repeat a word of the command. */
const MAX_WHY = 200;
const BLOCKED = "Command blocked by safety guard";
const DANGEROUS = `${BLOCKED} (dangerous pattern detected)`;
const CLIMBS = `${BLOCKED} (path traversal detected)`;
const LEAVES = `${BLOCKED} (path outside working dir)`;

/**
 * Why a command must not run: in the words that skills know, and what is wrong with it; undefined
 * where it may. Its text is taken apart as bash does it and programs are judged with their arguments;
 * patterns on the text are a second net. What cannot be judged does not run where paths are kept to a
 * folder. It is a seat belt, for mistakes of models and usual tricks: who wants to gets past it. The
 * sandbox is the protection.
 */
export async function checkCommand(
  written: string,
  options: PolicyOptions,
): Promise<string | undefined> {
  const { settings, restrict, cwd } = options;
  if (!settings.enable_deny_patterns && !restrict) return customDenied(written, options);
  // The parser is loaded with the first command.
  const { findingsOf } = await import("./analysis.ts");
  const findings = findingsOf(written, cwd, options.shell);
  const danger = dangerOf(written, findings, options);
  if (danger !== undefined) return danger;
  return restrict ? strayingOf(written, findings, options) : undefined;
}

function dangerOf(
  written: string,
  findings: Findings | undefined,
  options: PolicyOptions,
): string | undefined {
  const { settings } = options;
  const lower = written.toLowerCase();
  const isAllowed = settings.custom_allow_patterns.some((one) => new RegExp(one).test(lower));
  if (isAllowed) return undefined;
  const denied = customDenied(written, options);
  if (denied !== undefined || !settings.enable_deny_patterns) return denied;
  return findings === undefined ? unreadable(written, options) : judged(written, findings, options);
}

/** Of what the parser cannot read, or of the input of whatever reads it. */
function unreadable(written: string, { restrict, isInput }: PolicyOptions): string | undefined {
  if (isCaught(formsOf(written), false)) return DANGEROUS;
  const isCommand = restrict && isInput !== true;
  return isCommand ? because(DANGEROUS, "the shell could not read it") : undefined;
}

function judged(
  written: string,
  { refusals, unknownPrograms, texts }: Findings,
  { restrict, isInput }: PolicyOptions,
): string | undefined {
  const [refusal] = refusals;
  if (refusal !== undefined) return because(DANGEROUS, refusal);
  const [unknown] = unknownPrograms;
  if (isInput === true) return isCaught(formsOf(written), false) ? DANGEROUS : undefined;
  if (unknown !== undefined && restrict) return because(DANGEROUS, unknown);
  // Where a program is not known, none of the words is mere data.
  const looked = unknown === undefined ? texts : [written];
  return isCaught(looked.flatMap(formsOf), true) ? DANGEROUS : undefined;
}

function customDenied(written: string, { settings }: PolicyOptions): string | undefined {
  const lower = written.toLowerCase();
  const isDenied = settings.custom_deny_patterns.some((pattern) => new RegExp(pattern).test(lower));
  return isDenied ? DANGEROUS : undefined;
}

/** Whether it leaves the folder, or may do so for all that anybody knows. */
function strayingOf(
  written: string,
  findings: Findings | undefined,
  options: PolicyOptions,
): string | undefined {
  if (findings === undefined || options.isInput === true) {
    const forms = formsOf(written);
    if (forms.some(climbs)) return CLIMBS;
    return forms.some((form) => leaves(form, options)) ? LEAVES : undefined;
  }
  const forms = findings.texts.flatMap(formsOf);
  const paths = [...new Set(findings.paths)];
  if (paths.join("").length > MOST_PATHS) return because(LEAVES, "it names too much");
  if ([...forms, ...paths].some(climbs)) return CLIMBS;
  if (forms.some((form) => leaves(form, options))) return LEAVES;
  if (paths.some((path) => leavesWord(path, options))) return LEAVES;
  if (paths.some(isProtected))
    return because(LEAVES, "the program's own state and keys are kept from it");
  const [unknown] = findings.unknownPaths;
  return unknown === undefined ? undefined : because(LEAVES, unknown);
}

function because(blocked: string, why: string): string {
  return `${blocked}: ${escapeControl(truncate(why, MAX_WHY))}`;
}
