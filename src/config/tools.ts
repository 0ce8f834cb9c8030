import { nearestWord } from "../base/spelling.ts";
import type {
  HookSettings,
  HookStage,
  McpSettings,
  ProcessHookSettings,
  ToolProfile,
  MqttChannel,
  ToolSettings,
  TurnProfile,
  WatchSettings,
} from "./contract.ts";
import { absolutePath } from "./files.ts";
import type { PathBases } from "./files.ts";
import { checkPattern, didYouMean, quotable } from "./findings.ts";
import type { Findings } from "./findings.ts";
import { AGENTS } from "./keys/agents.ts";
import type { ValuesOf } from "./keys/key.ts";
import { HOOKS, PROCESS_HOOK, PROFILE, SWITCHED_TOOLS, TOOL_NAMES } from "./keys/tools.ts";
import type { TOOLS } from "./keys/tools.ts";
import { childOf } from "./tree.ts";
import type { Branch, Path, Tree } from "./tree.ts";
import { isSwitchedOff, namedEntries, NEVER_GIVEN } from "./values.ts";

/** The settings of the tools. Which tools are switched off is in `off`, not in a switch of each. */
export function toolSettings(
  tools: ValuesOf<typeof TOOLS.rows>,
  profiles: readonly ToolProfile[],
  mcp: McpSettings | undefined,
): Omit<ToolSettings, "watch"> {
  const switches = { ...tools, web_search: tools.web };
  const names = [...SWITCHED_TOOLS, "exec", "read_file", "web_search"] as const;
  const { enabled: _cron, ...cron } = tools.cron;
  const { enabled: _exec, ...exec } = tools.exec;
  const { enabled: _readFile, ...read_file } = tools.read_file;
  const { enabled: _web, ...web } = tools.web;
  const { allow_read_paths, allow_write_paths, filter_sensitive_data, filter_min_length } = tools;
  return {
    off: new Set(names.filter((name) => !switches[name].enabled)),
    allow_read_paths,
    allow_write_paths,
    filter_sensitive_data,
    filter_min_length,
    profiles,
    cron,
    exec,
    read_file,
    web,
    ...(mcp && { mcp }),
  };
}

/**
 * `tools.profiles`, in the order of the file, with paths relative to the workspace; an object would put keys like `42` first. Adds problems and
 * warnings to the findings.
 */
export function toolProfiles(tree: Branch, findings: Findings, bases: PathBases): ToolProfile[] {
  const path = ["tools", "profiles"];
  const servers = serversIn(tree);
  const absolute = (written: string): string => absolutePath(written.trim(), bases);
  return namedEntries(childOf(tree, ...path), path, findings.problem).flatMap(
    ([pattern, entry]) => {
      const profile = toolProfile(entry, [...path, pattern], { findings, servers });
      if (profile === undefined) return [];
      const { read, write } = profile;
      return [{ ...profile, pattern, read: read.map(absolute), write: write.map(absolute) }];
    },
  );
}

type WatchReader = (
  tree: Branch,
  channels: readonly MqttChannel[],
  findings: Findings,
) => readonly WatchSettings[];

/** What reads `tools.mqtt.watch`: its code is loaded only where there is one. */
export async function watchReader(tree: Branch): Promise<WatchReader> {
  if (childOf(tree, "tools", "mqtt", "watch") === undefined) return () => [];
  const { watchesIn } = await import("./watch/watch.ts");
  return watchesIn;
}

function toolProfile(
  entry: Tree,
  path: Path,
  { findings, servers }: NameCheck,
): ValuesOf<typeof PROFILE.rows> | undefined {
  checkPattern(path, findings);
  const output = PROFILE.read(entry, path, findings.problem);
  if (output === undefined) return undefined;
  const tools = output.tools.map((name) => (name === "skills" ? "use_skill" : name));
  for (const [index, name] of tools.entries()) {
    checkName(name, [...path, "tools", index], { findings, servers });
  }
  const { by, tools: waiting } = output.confirm;
  // Those with `tools` are warned of where profiles are checked.
  if (childOf(entry, "confirm") !== undefined && by.length + waiting.length === 0) {
    findings.warn(
      [...path, "confirm"],
      "has nobody in by: no call waits",
      "name the clients that may confirm in by",
    );
  }
  return { ...output, tools };
}

interface NameCheck {
  readonly findings: Findings;
  /** Names of servers of the Model Context Protocol; their tools are `server.tool`. */
  readonly servers: readonly string[];
}

/** The servers of the Model Context Protocol, used or not. */
function serversIn(tree: Branch): readonly string[] {
  const found = childOf(tree, "tools", "mcp", "servers");
  return found?.kind === "branch" ? [...found.entries.keys()] : [];
}

/** An unknown name is only a warning, because nothing can be called by it. */
function checkName(name: string, path: Path, { findings, servers }: NameCheck): void {
  if (name === "*" || TOOL_NAMES.includes(name)) return;
  const server = name.slice(0, name.indexOf("."));
  if (name.includes(".")) {
    if (servers.includes(server)) return;
    findings.warn(
      path,
      `"${quotable(name)}" allows nothing: tools.mcp.servers has no "${quotable(server)}"${didYouMean(nearestWord(server, servers))}`,
      "add that MCP server, or remove the name",
    );
    return;
  }
  const nearest = nearestWord(name, TOOL_NAMES);
  findings.warn(
    path,
    `"${quotable(name)}" is not a tool and allows nothing${didYouMean(nearest)}`,
    nearest === undefined ? `the tools are: ${TOOL_NAMES.join(", ")}` : `write ${nearest}`,
  );
}

const TURN_PROFILE = AGENTS.rows.defaults.rows.turn_profile;

/**
 * `agents.defaults.turn_profile`, the restrictions of every turn; undefined without any. As in Go
 * PicoClaw, a profile that is not enabled is not read any further. Adds problems and warnings to the
 * findings.
 */
export function turnProfile(tree: Branch, findings: Findings): TurnProfile | undefined {
  const path = ["agents", "defaults", "turn_profile"];
  const found = childOf(tree, ...path);
  if (found === undefined || isSwitchedOff(found, TURN_PROFILE.rows)) return undefined;
  const output = TURN_PROFILE.read(found, path, findings.problem);
  if (output === undefined) return undefined;
  if (output.tools.mode === "custom") checkTurnTools(output.tools.allow, path, findings);
  const [skills, tools] = [allowedBy(output.skills), allowedBy(output.tools)];
  return {
    history: output.history.mode,
    system_prompt: output.system_prompt.mode,
    ...(skills && { skills }),
    ...(tools && { tools }),
  };
}

type AllowList = ValuesOf<typeof TURN_PROFILE.rows>["tools"];

/** The allowed names; undefined if all are allowed. As in Go PicoClaw, an empty list allows nothing. */
function allowedBy({ mode, allow }: AllowList): ReadonlySet<string> | undefined {
  if (mode === "default") return undefined;
  const names = mode === "off" ? [] : allow.map((name) => name.trim().toLowerCase());
  return new Set(names.filter((name) => name !== ""));
}

function checkTurnTools(names: readonly string[], path: Path, findings: Findings): void {
  for (const [index, name] of names.entries()) {
    const written = name.trim().toLowerCase();
    // Tools of servers are known only once the servers are asked.
    if (written === "" || TOOL_NAMES.includes(written) || /^mcp_|\./.test(written)) continue;
    const nearest = nearestWord(written, TOOL_NAMES);
    findings.warn(
      [...path, "tools", "allow", index],
      `"${quotable(name)}" is not a tool here and allows nothing`,
      nearest === undefined
        ? `the tools are: ${TOOL_NAMES.join(", ")}`
        : `write ${nearest} if you mean it`,
    );
  }
}

const STAGES: readonly HookStage[] = ["before_tool", "after_tool", "approve_tool"];
/** Stages of Go PicoClaw that are not built here. */
export const MODEL_STAGES = ["before_llm", "after_llm"];

/**
 * The hooks for tool calls, in the order in which they are asked: by `priority`, then by name.
 * Undefined if there are none. Relative folders are relative to the working directory. Adds problems and warnings to the findings.
 */
export function hookSettings(
  tree: Branch,
  findings: Findings,
  bases: PathBases,
): HookSettings | undefined {
  const found = childOf(tree, "hooks");
  if (found === undefined) return undefined;
  const output = HOOKS.read(found, ["hooks"], findings.problem);
  if (output?.enabled !== true) return undefined;
  const path = ["hooks", "processes"];
  const processes = namedEntries(childOf(found, "processes"), path, findings.problem)
    .filter(([, entry]) => isHookOn(entry))
    .flatMap(([name, entry]) => processHook(entry, [...path, name], findings, bases))
    .toSorted((left, right) => left.priority - right.priority || (left.name < right.name ? -1 : 1));
  if (processes.length === 0) return undefined;
  const { interceptor_timeout_ms, approval_timeout_ms } = output.defaults;
  return { interceptor_timeout_ms, approval_timeout_ms, processes };
}

/** A hook that is not enabled is not read any further, as in Go PicoClaw. */
export function isHookOn(entry: Tree): boolean {
  return !isSwitchedOff(entry, PROCESS_HOOK.rows);
}

function processHook(
  entry: Tree,
  path: readonly string[],
  findings: Findings,
  bases: PathBases,
): ProcessHookSettings[] {
  const name = path.at(-1) ?? "";
  const output = PROCESS_HOOK.read(entry, path, findings.problem);
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
  const folder = dir === "" ? {} : { dir: absolutePath(dir, bases) };
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
  for (const [name] of entries.filter(([key]) => NEVER_GIVEN.has(key))) {
    findings.warn(
      [...path, "env", name],
      "has no effect: this variable is never given to another program",
    );
  }
  return Object.fromEntries(entries.filter(([key]) => !NEVER_GIVEN.has(key)));
}
