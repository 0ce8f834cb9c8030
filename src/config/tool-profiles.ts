import { resolve } from "node:path";
import * as v from "valibot";
import { nearestWord } from "../base/spelling.ts";
import type { ToolProfile } from "./contract.ts";
import { expandHome } from "./files.ts";
import type { Findings } from "./findings.ts";
import { quotable } from "./findings.ts";
import { PROFILE } from "./tool-profile-schema.ts";
import { TOOL_NAMES } from "./tools-schema.ts";
import { branchAt, childOf } from "./tree.ts";
import type { Branch, Path, Tree } from "./tree.ts";
import { unknownProfileKeys } from "./unknown.ts";
import { inputOf, section } from "./values.ts";

const SCHEMA = section(PROFILE);

/** Characters of a pattern: longer than any sensible id, so that comparing stays cheap. */
const MAX_PATTERN = 256;

interface Bases {
  /** The workspace, absolute. */
  readonly folder: string;
  readonly userHome: string;
}

/**
 * `tools.profiles`, in the order in which they are written: an object would put keys like `42` first, so
 * they are taken from the tree. What is wrong with them goes to the findings.
 */
export function toolProfiles(tree: Branch, findings: Findings, bases: Bases): ToolProfile[] {
  const profiles = childOf(branchAt(tree, "tools"), "profiles");
  if (profiles === undefined) return [];
  if (profiles.kind !== "branch") {
    findings.issues(v.safeParse(section({}), inputOf(profiles)).issues, ["tools", "profiles"]);
    return [];
  }
  return [...profiles.entries].flatMap(([pattern, entry]) => {
    const isComment = entry.kind === "leaf" && /^(?:_|\$|\/\/)/.test(pattern);
    return isComment ? [] : profileOf(pattern, entry, { findings, bases });
  });
}

interface Reading {
  readonly findings: Findings;
  readonly bases: Bases;
}

function profileOf(pattern: string, entry: Tree, { findings, bases }: Reading): ToolProfile[] {
  const path: Path = ["tools", "profiles", pattern];
  if (pattern === "" || pattern.length > MAX_PATTERN) {
    const found = pattern === "" ? "an empty pattern" : `a pattern of ${pattern.length} characters`;
    findings.problem(path, `found ${found}, allowed are 1 to ${MAX_PATTERN} characters`);
  }
  unknownProfileKeys(entry, path, findings);
  const { success, output, issues } = v.safeParse(SCHEMA, inputOf(entry));
  findings.issues(issues, path);
  if (!success) return [];
  const absolute = (written: string): string =>
    resolve(bases.folder, expandHome(written.trim(), bases.userHome));
  const tools = output.tools.map((name) => (name === "skills" ? "use_skill" : name));
  for (const [index, name] of tools.entries()) checkName(name, [...path, "tools", index], findings);
  const { read, write, topics } = output;
  return [{ pattern, tools, read: read.map(absolute), write: write.map(absolute), topics }];
}

/** Fatal it is not: what is no tool cannot be called. */
function checkName(name: string, path: Path, findings: Findings): void {
  if (name === "*" || TOOL_NAMES.includes(name)) return;
  const nearest = nearestWord(name, TOOL_NAMES);
  const meant = nearest === undefined ? "" : `; did you mean ${nearest}?`;
  findings.warn(
    path,
    `"${quotable(name)}" is no tool and allows nothing${meant}`,
    nearest === undefined ? `tools are: ${TOOL_NAMES.join(", ")}` : `write ${nearest}`,
  );
}
