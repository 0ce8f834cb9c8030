import * as v from "valibot";
import { nearestWord } from "../base/spelling.ts";
import type { TurnProfile } from "./contract.ts";
import type { Findings } from "./findings.ts";
import { quotable } from "./findings.ts";
import { TOOL_NAMES } from "./tools-schema.ts";
import { branchAt, childOf } from "./tree.ts";
import type { Branch, Path } from "./tree.ts";
import { choice, flag, inputOf, or, orEmpty, section, texts } from "./values.ts";

type Mode = "default" | "off";
type ListMode = Mode | "custom";

interface List {
  readonly mode: ListMode;
  readonly allow: readonly string[];
}

const MODES: ReadonlyMap<string, Mode> = new Map([
  ["", "default"],
  ["default", "default"],
  ["off", "off"],
]);

const LIST_MODES: ReadonlyMap<string, ListMode> = new Map([...MODES, ["custom", "custom"]]);

const block = () => orEmpty(section({ mode: or(choice("default or off", MODES), "default") }));
const list = () =>
  orEmpty(
    section({
      mode: or(choice("default, off or custom", LIST_MODES), "default"),
      allow: v.optional(texts(), () => []),
    }),
  );

/** `agents.defaults.turn_profile`. */
export const TURN_PROFILE = {
  enabled: or(flag(), false),
  history: block(),
  system_prompt: block(),
  skills: list(),
  tools: list(),
};

const SCHEMA = section(TURN_PROFILE);
const SWITCH = section({ enabled: TURN_PROFILE.enabled });
const PATH: Path = ["agents", "defaults", "turn_profile"];

/**
 * What every turn is restricted to; undefined where nothing is. As in Go PicoClaw the rest of a profile
 * that is not enabled is not looked at. What is wrong with it goes to the findings.
 */
export function turnProfile(tree: Branch, findings: Findings): TurnProfile | undefined {
  const found = childOf(branchAt(branchAt(tree, "agents"), "defaults"), "turn_profile");
  if (found === undefined) return undefined;
  const enabled = v.safeParse(SWITCH, inputOf(found));
  if (enabled.success && !enabled.output.enabled) return undefined;
  const { success, output, issues } = v.safeParse(SCHEMA, inputOf(found));
  findings.issues(issues, PATH);
  if (!success) return undefined;
  if (output.tools.mode === "custom") warnOfTools(output.tools.allow, findings);
  const [skills, tools] = [allowedBy(output.skills), allowedBy(output.tools)];
  return {
    history: output.history.mode,
    system_prompt: output.system_prompt.mode,
    ...(skills && { skills }),
    ...(tools && { tools }),
  };
}

/** Names that are left; undefined where all are. An empty list of Go PicoClaw's allows nothing. */
function allowedBy({ mode, allow }: List): ReadonlySet<string> | undefined {
  if (mode === "default") return undefined;
  const names = mode === "off" ? [] : allow.map((name) => name.trim().toLowerCase());
  return new Set(names.filter((name) => name !== ""));
}

/** Fatal it is not: what is no tool cannot be called. */
function warnOfTools(names: readonly string[], findings: Findings): void {
  for (const [index, name] of names.entries()) {
    const written = name.trim().toLowerCase();
    if (written === "" || TOOL_NAMES.includes(written)) continue;
    const nearest = nearestWord(written, TOOL_NAMES);
    findings.warn(
      [...PATH, "tools", "allow", index],
      `"${quotable(name)}" is no tool here and allows nothing`,
      nearest === undefined
        ? `tools are: ${TOOL_NAMES.join(", ")}`
        : `write ${nearest} if you mean it`,
    );
  }
}
