import { resolve } from "node:path";
import * as v from "valibot";
import type { HookSettings, HookStage, ProcessHookSettings } from "./contract.ts";
import { expandHome } from "./files.ts";
import type { Findings } from "./findings.ts";
import { branchAt, childOf } from "./tree.ts";
import type { Branch, Path, Tree } from "./tree.ts";
import {
  anyObject,
  flag,
  inputOf,
  integer,
  oneOrMore,
  or,
  orEmpty,
  section,
  text,
  whole,
} from "./values.ts";

/** Milliseconds; 0 is the usual ones. */
const timeLimit = (usual: number) =>
  or(
    whole("a whole number of milliseconds up to 3600000", (number) => {
      if (number > 3_600_000) return undefined;
      return number <= 0 ? usual : number;
    }),
    usual,
  );

/** `hooks.defaults`. */
export const HOOK_DEFAULTS = {
  observer_timeout_ms: timeLimit(500),
  interceptor_timeout_ms: timeLimit(5000),
  approval_timeout_ms: timeLimit(60_000),
};

const words = () => v.optional(oneOrMore(text("text without NUL", isWord)), () => []);

/** `hooks.processes.<name>`. */
export const PROCESS_HOOK = {
  enabled: or(flag(), false),
  priority: or(integer(-1_000_000_000, 1_000_000_000), 0),
  transport: or(
    text('"stdio"', (written) => written === "" || written === "stdio"),
    "stdio",
  ),
  command: words(),
  dir: or(text(), ""),
  env: v.optional(v.pipe(anyObject(), v.check(isEnvironment, "allowed are texts")), () => ({})),
  observe: words(),
  intercept: words(),
};

/** `hooks`. */
export const HOOKS = {
  enabled: or(flag(), true),
  defaults: orEmpty(section(HOOK_DEFAULTS)),
  builtins: orEmpty(anyObject()),
  processes: orEmpty(anyObject()),
};

const SCHEMA = section(PROCESS_HOOK);
const ROOT = section(HOOKS);

const STAGES: readonly HookStage[] = ["before_tool", "after_tool", "approve_tool"];
const MODEL_STAGES = ["before_llm", "after_llm"];
/** They would change what a compiled picoclaw or Bun does. */
const NEVER = new Set(["BUN_OPTIONS", "BUN_BE_BUN"]);

/** What relative folders are relative to. */
interface Bases {
  readonly cwd: string;
  readonly userHome: string;
}

/**
 * The hooks that are asked about calls of tools, in the order in which they are asked: the lowest
 * `priority` first, then by name. Undefined where there are none. What is wrong goes to the findings.
 */
export function hookSettings(
  tree: Branch,
  findings: Findings,
  bases: Bases,
): HookSettings | undefined {
  const found = childOf(tree, "hooks");
  if (found === undefined) return undefined;
  const { success, output, issues } = v.safeParse(ROOT, inputOf(found));
  findings.issues(issues, ["hooks"]);
  if (!success || !output.enabled) return undefined;
  const processes = enabledIn(found, "processes")
    .flatMap(([name, entry]) => processHook(name, entry, { findings, bases }))
    .toSorted((left, right) => left.priority - right.priority || (left.name < right.name ? -1 : 1));
  if (processes.length === 0) return undefined;
  const { interceptor_timeout_ms, approval_timeout_ms } = output.defaults;
  return { interceptor_timeout_ms, approval_timeout_ms, processes };
}

/**
 * Hooks that restrict in Go PicoClaw and that this program does not ask: those compiled into it, and
 * those about questions to the model. Paths of their keys, as at version 3; none where hooks are off.
 */
export function unsupportedHooks(tree: Branch): readonly Path[] {
  const hooks = branchAt(tree, "hooks");
  if (hooks === undefined || isOff(hooks, true)) return [];
  const builtins = enabledIn(hooks, "builtins");
  const processes = enabledIn(hooks, "processes").filter(([, entry]) =>
    textsAt(entry, "intercept").some((stage) => MODEL_STAGES.includes(stage)),
  );
  return [
    ...builtins.map(([name]): Path => ["hooks", "builtins", name]),
    ...processes.map(([name]): Path => ["hooks", "processes", name, "intercept"]),
  ];
}

/** As in Go PicoClaw the rest of a hook that is not enabled is not looked at. */
function enabledIn(hooks: Tree, key: string): (readonly [string, Tree])[] {
  const entries = branchAt(hooks, key)?.entries ?? [];
  return [...entries].filter(([name, entry]) => {
    const isComment = entry.kind === "leaf" && /^(?:_|\$|\/\/)/.test(name);
    return !isComment && !isOff(entry, false);
  });
}

function isOff(entry: Tree, otherwise: boolean): boolean {
  const schema = section({ enabled: or(flag(), otherwise) });
  const { success, output } = v.safeParse(schema, inputOf(entry));
  return success && !output.enabled;
}

function textsAt(entry: Tree, key: string): string[] {
  const found = childOf(entry, key);
  const items = found?.kind === "list" ? found.items : found === undefined ? [] : [found];
  return items.flatMap((item) => (item.kind === "leaf" ? [item.text.trim()] : []));
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
  const { success, output, issues } = v.safeParse(SCHEMA, inputOf(entry));
  findings.issues(issues, path);
  if (!success) return [];
  const { command, observe, priority, dir } = output;
  if (command.length === 0 || command[0]?.trim() === "") {
    findings.problem(path, "command is missing: the program to start, and its words");
  }
  const stages = stagesOf(output.intercept, path, findings);
  if (observe.length > 0) {
    findings.warn([...path, "observe"], "has no effect here: hooks do not hear of events");
  }
  if (output.intercept.length === 0 && observe.length === 0) {
    findings.problem(path, "intercept is missing: it says what the hook is asked about");
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
      findings.problem([...path, "intercept", index], `is no stage, allowed are ${allowed}`);
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
    findings.warn([...path, "env", name], "has no effect: no other program is given it");
  }
  return Object.fromEntries(entries.filter(([key]) => !NEVER.has(key)));
}

function isWord(written: string): boolean {
  return !written.includes("\0");
}

function isEnvironment(env: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(env).every(
    ([name, value]) => /^[^=\0]+$/.test(name) && typeof value === "string" && isWord(value),
  );
}
