import { resolve } from "node:path";
import { nearestWord } from "../base/spelling.ts";
import type { ToolProfile, ToolSettings, TurnProfile } from "./contract.ts";
import { expandHome } from "./files.ts";
import type { Findings } from "./findings.ts";
import { quotable } from "./findings.ts";
import { AGENTS } from "./keys/agents.ts";
import type { ValuesOf } from "./keys/key.ts";
import { PROFILE, SWITCHED_TOOLS, TOOL_NAMES } from "./keys/tools.ts";
import type { TOOLS } from "./keys/tools.ts";
import { branchAt, childOf } from "./tree.ts";
import type { Branch, Path, Tree } from "./tree.ts";
import { isSwitchedOff, namedEntries, readAs } from "./values.ts";

/** The settings of the tools. */
export function toolSettings(
  tools: ValuesOf<typeof TOOLS.rows>,
  profiles: readonly ToolProfile[],
): ToolSettings {
  const { enabled: hasExec, ...exec } = tools.exec;
  const { enabled: hasReadFile, ...read_file } = tools.read_file;
  const { enabled: hasSearch, ...web } = tools.web;
  const off = new Set<string>(SWITCHED_TOOLS.filter((name) => !tools[name].enabled));
  if (!hasExec) off.add("exec");
  if (!hasReadFile) off.add("read_file");
  if (!hasSearch) off.add("web_search");
  const { allow_read_paths, allow_write_paths, filter_sensitive_data, filter_min_length } = tools;
  return {
    off,
    allow_read_paths,
    allow_write_paths,
    filter_sensitive_data,
    filter_min_length,
    profiles,
    exec,
    read_file,
    web,
  };
}

interface Bases {
  /** The workspace, absolute. */
  readonly folder: string;
  readonly userHome: string;
}

/** Characters of a pattern; comparing stays cheap. */
const MAX_PATTERN = 256;

/**
 * `tools.profiles`, in the order of the file; an object would put keys like `42` first. Adds problems and
 * warnings to the findings.
 */
export function toolProfiles(tree: Branch, findings: Findings, bases: Bases): ToolProfile[] {
  const path: Path = ["tools", "profiles"];
  const profiles = childOf(branchAt(tree, "tools"), "profiles");
  const absolute = (written: string): string =>
    resolve(bases.folder, expandHome(written.trim(), bases.userHome));
  return namedEntries(profiles, path, findings).flatMap(([pattern, entry]) => {
    const profile = toolProfile(entry, [...path, pattern], findings);
    if (profile === undefined) return [];
    const { tools, read, write, topics } = profile;
    return [{ pattern, tools, read: read.map(absolute), write: write.map(absolute), topics }];
  });
}

function toolProfile(
  entry: Tree,
  path: Path,
  findings: Findings,
): ValuesOf<typeof PROFILE.rows> | undefined {
  const { length } = String(path.at(-1));
  if (length === 0 || length > MAX_PATTERN) {
    const found = length === 0 ? "an empty pattern" : `a pattern of ${length} characters`;
    findings.problem(path, `found ${found}, allowed are 1 to ${MAX_PATTERN} characters`);
  }
  const output = readAs(PROFILE.schema, entry, path, findings);
  if (output === undefined) return undefined;
  const tools = output.tools.map((name) => (name === "skills" ? "use_skill" : name));
  for (const [index, name] of tools.entries()) checkName(name, [...path, "tools", index], findings);
  return { ...output, tools };
}

/** An unknown name is only a warning, because nothing can be called by it. */
function checkName(name: string, path: Path, findings: Findings): void {
  if (name === "*" || TOOL_NAMES.includes(name)) return;
  const nearest = nearestWord(name, TOOL_NAMES);
  const meant = nearest === undefined ? "" : `; did you mean ${nearest}?`;
  findings.warn(
    path,
    `"${quotable(name)}" is not a tool and allows nothing${meant}`,
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
  const path: Path = ["agents", "defaults", "turn_profile"];
  const found = childOf(branchAt(branchAt(tree, "agents"), "defaults"), "turn_profile");
  if (found === undefined || isSwitchedOff(found, TURN_PROFILE.rows)) return undefined;
  const output = readAs(TURN_PROFILE.schema, found, path, findings);
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
    if (written === "" || TOOL_NAMES.includes(written)) continue;
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
