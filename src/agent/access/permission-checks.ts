import { join } from "node:path";
import type { Check } from "../../base/contract.ts";
import { isInside } from "../../base/path-contains.ts";
import type { ToolProfile, ToolSettings } from "../../config/contract.ts";
import { OWNER_FILES } from "../workspace/contract.ts";
import { coversPattern, isEveryone } from "./client-pattern.ts";
import { isSwitchedOff, ineffectiveTools } from "./permissions.ts";

export interface PermissionCheckOptions {
  readonly tools: Pick<ToolSettings, "profiles" | "exec" | "off">;
  /** All clients share one conversation. */
  readonly isShared?: boolean;
  /** Absolute path. */
  readonly workspace: string;
}

const NAME = "tools of clients";

/** Warns where clients may do more, or less, than the owner can have meant. One line if all is well. */
export function permissionChecks(options: PermissionCheckOptions): readonly Check[] {
  const { tools, workspace, isShared = false } = options;
  const { profiles, exec } = tools;
  const found = [
    ...(isShared && (profiles.length > 0 || exec.allow_remote === true) ? [SHARED] : []),
    ...(exec.allow_remote === true ? [allowRemote(profiles)] : []),
    ...profiles.flatMap((profile, index) => {
      const about = { profile, before: profiles.slice(0, index), workspace, tools };
      return PROFILE_CHECKS.flatMap((look) => checkOf(profile, look(about)));
    }),
  ];
  if (found.length > 0) return found;
  const message = "no client may do more than its profile allows";
  return [{ name: NAME, result: "ok", message }];
}

interface ProfileContext {
  readonly profile: ToolProfile;
  /** The profiles that take precedence. */
  readonly before: readonly ToolProfile[];
  readonly workspace: string;
  readonly tools: PermissionCheckOptions["tools"];
}

interface Finding {
  readonly message: string;
  readonly remedy: string;
}

const PROFILE_CHECKS: readonly ((about: ProfileContext) => Finding | undefined)[] = [
  neverReached,
  everyoneMayAct,
  publishesAnywhere,
  reachesAll,
  namesWhatIsOff,
];

function checkOf({ pattern }: ToolProfile, fault: Finding | undefined): Check[] {
  if (fault === undefined) return [];
  return [{ name: `tools.profiles ${JSON.stringify(pattern)}`, result: "warn", ...fault }];
}

function allowRemote(profiles: readonly ToolProfile[]): Check {
  const who = profiles.length === 0 ? "every client" : "every client without a profile";
  return {
    name: NAME,
    result: "warn",
    message: `${who} may run commands, change files and publish, because tools.exec.allow_remote is true`,
    remedy: "remove allow_remote, and give the clients that need it a profile in tools.profiles",
  };
}

/** The model reads the words of one client as history in the turns of another with more permissions. */
const SHARED: Check = {
  name: NAME,
  result: "warn",
  message:
    "all clients share one conversation: text of one client is part of the turns of others, who may do more",
  remedy: 'set session.dimensions to ["chat"]',
};

function neverReached({ profile: { pattern }, before }: ProfileContext): Finding | undefined {
  const earlier = before.find((other) => coversPattern(other.pattern, pattern));
  if (earlier === undefined) return undefined;
  return {
    message: `is never used: ${JSON.stringify(earlier.pattern)} before it matches the same clients`,
    remedy: "move the profile with fewer clients to the front",
  };
}

function everyoneMayAct({ profile, workspace }: ProfileContext): Finding | undefined {
  const { pattern, tools, write } = profile;
  if (!isEveryone(pattern)) return undefined;
  const reasons = [
    ...(tools.includes("*") ? ["use every tool"] : []),
    ...(tools.includes("exec") ? ["run commands"] : []),
    ...(write.some((folder) => !isInside(folder, workspace))
      ? ["write outside the workspace"]
      : []),
    ...(write.some((path) => OWNER_FILES.some((name) => isInside(path, join(workspace, name))))
      ? ["change the instructions of the agent"]
      : []),
  ];
  if (reasons.length === 0) return undefined;
  return {
    message: `every client of the broker may ${reasons.join(" and ")}`,
    remedy: "name the clients that need it instead of *",
  };
}

function publishesAnywhere({ profile: { topics } }: ProfileContext): Finding | undefined {
  const wide = topics.publish.find((filter) => /^(?:\+\/)*#$/.test(filter));
  if (wide === undefined) return undefined;
  return {
    message: `publishes to any topic: topics.publish contains ${wide}`,
    remedy: "name the topics, such as home/+/light/set",
  };
}

function reachesAll({ profile, workspace }: ProfileContext): Finding | undefined {
  const all = [...profile.read, ...profile.write].find((folder) => {
    return folder !== workspace && isInside(workspace, folder);
  });
  if (all === undefined) return undefined;
  return {
    message: `reaches all of ${all}, which is more than the workspace`,
    remedy: "name the folders that are needed",
  };
}

function namesWhatIsOff({ profile, tools: { off, exec } }: ProfileContext): Finding | undefined {
  const { tools: names } = profile;
  const useless = new Set(ineffectiveTools(profile));
  const isOff = (name: string): boolean =>
    isSwitchedOff(name, off) || (name === "exec" && exec.allow_remote === false);
  const switched = names.filter(isOff);
  const empty = names.filter((name) => useless.has(name));
  if (switched.length > 0) {
    return {
      message: `names tools that are switched off: ${switched.join(", ")}`,
      remedy: switched.includes("exec")
        ? "remove the name, or tools.exec.allow_remote: false"
        : `remove the name, or set tools.${switched[0]}.enabled to true`,
    };
  }
  if (empty.length === 0) return undefined;
  return {
    message: `names tools that can do nothing: ${empty.join(", ")}`,
    remedy: "add the paths to read or write, or the topics",
  };
}
