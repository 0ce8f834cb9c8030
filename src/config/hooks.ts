import { resolve } from "node:path";
import type { HookSettings, HookStage, ProcessHookSettings } from "./contract.ts";
import { expandHome } from "./files.ts";
import type { Findings } from "./findings.ts";
import { HOOKS, PROCESS_HOOK } from "./keys/tools.ts";
import { childOf } from "./tree.ts";
import type { Branch, Path, Tree } from "./tree.ts";
import { isSwitchedOff, namedEntries, readAs } from "./values.ts";

const STAGES: readonly HookStage[] = ["before_tool", "after_tool", "approve_tool"];
/** Stages of Go PicoClaw that are not built here. */
export const MODEL_STAGES = ["before_llm", "after_llm"];
/** Variables that change what a compiled picoclaw or Bun does. */
const NEVER = new Set(["BUN_OPTIONS", "BUN_BE_BUN"]);

/** Relative folders are relative to `cwd`; `~` is `userHome`. */
interface Bases {
  readonly cwd: string;
  readonly userHome: string;
}

/**
 * The hooks for tool calls, in the order in which they are asked: by `priority`, then by name.
 * Undefined if there are none. Adds problems and warnings to the findings.
 */
export function hookSettings(
  tree: Branch,
  findings: Findings,
  bases: Bases,
): HookSettings | undefined {
  const found = childOf(tree, "hooks");
  if (found === undefined) return undefined;
  const output = readAs(HOOKS.schema, found, ["hooks"], findings);
  if (output?.enabled !== true) return undefined;
  const path: Path = ["hooks", "processes"];
  const processes = namedEntries(childOf(found, "processes"), path, findings)
    .filter(([, entry]) => isHookOn(entry))
    .flatMap(([name, entry]) => processHook(name, entry, { findings, bases }))
    .toSorted((left, right) => left.priority - right.priority || (left.name < right.name ? -1 : 1));
  if (processes.length === 0) return undefined;
  const { interceptor_timeout_ms, approval_timeout_ms } = output.defaults;
  return { interceptor_timeout_ms, approval_timeout_ms, processes };
}

/** A hook that is not enabled is not read any further, as in Go PicoClaw. */
export function isHookOn(entry: Tree): boolean {
  return !isSwitchedOff(entry, PROCESS_HOOK.rows);
}

interface Reading {
  readonly findings: Findings;
  readonly bases: Bases;
}

function processHook(
  name: string,
  entry: Tree,
  { findings, bases }: Reading,
): ProcessHookSettings[] {
  const path: Path = ["hooks", "processes", name];
  const output = readAs(PROCESS_HOOK.schema, entry, path, findings);
  if (output === undefined) return [];
  const { command, observe, priority, dir } = output;
  if (command.length === 0 || command[0]?.trim() === "") {
    findings.problem(path, "command is missing: the program and its arguments");
  }
  const stages = stagesOf(output.intercept, path, findings);
  if (observe.length > 0) {
    findings.warn([...path, "observe"], "has no effect here: hooks get no events");
  }
  if (output.intercept.length === 0 && observe.length === 0) {
    findings.problem(path, "intercept is missing: the stages that the hook is asked about");
  }
  if (stages.length === 0) return [];
  const env = envOf(output.env, path, findings);
  const folder = dir === "" ? {} : { dir: resolve(bases.cwd, expandHome(dir, bases.userHome)) };
  return [{ name, priority, command, stages: new Set(stages), env, ...folder }];
}

function stagesOf(written: readonly string[], path: Path, findings: Findings): HookStage[] {
  return written.flatMap((word, index) => {
    const stage = STAGES.find((known) => known === word);
    if (stage !== undefined) return [stage];
    if (word !== "" && !MODEL_STAGES.includes(word)) {
      const allowed = [...STAGES, ...MODEL_STAGES].join(", ");
      findings.problem([...path, "intercept", index], `is not a stage, allowed are ${allowed}`);
    }
    return [];
  });
}

function envOf(
  written: Readonly<Record<string, unknown>>,
  path: Path,
  findings: Findings,
): Readonly<Record<string, string>> {
  const entries = Object.entries(written).map(([name, value]) => [name, String(value)] as const);
  for (const [name] of entries.filter(([key]) => NEVER.has(key))) {
    findings.warn(
      [...path, "env", name],
      "has no effect: this variable is never given to another program",
    );
  }
  return Object.fromEntries(entries.filter(([key]) => !NEVER.has(key)));
}
