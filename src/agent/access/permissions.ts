import { join } from "node:path";
import { matchesPattern } from "../../base/client-pattern.ts";
import { isInside } from "../../base/path-contains.ts";
import type { ToolProfile, ToolSettings, TurnProfile } from "../../config/contract.ts";

/** Who asks. */
export interface Caller {
  /** Opaque; only together with the channel it names somebody. */
  readonly client: string;
  /** The channel's name in the configuration; absent for who is at this machine. */
  readonly channel?: string;
  /** The question came over a channel, not from someone at this machine; false where it is left out. */
  readonly isRemote?: boolean;
}

/** What somebody may do through the agent. */
export interface Permissions {
  /** Whether a tool may be offered and run. */
  readonly allows: (tool: string) => boolean;
  /** Absolute paths with all below them, as they are written; absent: what the settings allow everyone. */
  readonly files?: FilePermissions;
  readonly topics: TopicPermissions;
  /** Whether the memory of all may be changed, or one of its own alone. */
  readonly memory: "shared" | "own";
}

export interface FilePermissions {
  readonly read: readonly string[];
  readonly write: readonly string[];
}

/** MQTT topic filters. */
export interface TopicPermissions {
  readonly read: readonly string[];
  readonly publish: readonly string[];
}

/** What there is to do, but for the agent's own topics. */
export const FULL_ACCESS: Permissions = {
  allows: () => true,
  topics: { read: ["#", "$SYS/#"], publish: ["#"] },
  memory: "shared",
};

/**
 * What whoever is remote may use without a profile: facts of the device, pages, and what it said itself.
 * Skills are among it because their list is part of every prompt, and they only tell what their owner
 * wrote; subagents are not, because all clients share few places for them.
 */
const DEFAULT_TOOLS: ReadonlySet<string> = new Set(["device", "memory", "use_skill", "web_fetch"]);

const DEFAULT_PERMISSIONS: Permissions = {
  allows: (tool) => DEFAULT_TOOLS.has(tool),
  files: { read: [], write: [] },
  topics: { read: [], publish: [] },
  memory: "own",
};

export interface PermissionSettings {
  readonly tools: Pick<ToolSettings, "profiles" | "exec" | "off">;
  /** Absolute path. */
  readonly workspace: string;
  /** What every turn is restricted to, at this machine, too. */
  readonly turnProfile?: TurnProfile | undefined;
  /** Whether commands of clients have the sandbox that they need; left out where they do. */
  readonly isSandboxed?: boolean;
}

/** Tells what somebody may do; one object for each profile, however many clients it is of. */
export type PermissionsOf = (caller: Caller) => Permissions;

/**
 * The permissions that a configuration gives: everything to who is at this machine; to all others what the
 * first profile says whose pattern means the client. Without one: everything where `tools.exec.allow_remote`
 * is said to be true, else next to nothing. No client has commands without a sandbox, unless the owner
 * wants none. What is switched off, or is not of the turn profile, is nobody's, be it asked for in a command.
 */
export function createPermissions(settings: PermissionSettings): PermissionsOf {
  const { tools, workspace, turnProfile, isSandboxed = true } = settings;
  const { profiles, exec, off } = tools;
  const canRun = isSandboxed && exec.allow_remote !== false;
  const without = (permissions: Permissions): Permissions =>
    restricted(permissions, off, turnProfile);
  const known = profiles.map((profile) => ({
    pattern: profile.pattern,
    permissions: without(profilePermissions(profile, { workspace, canRun })),
  }));
  const everything = without(FULL_ACCESS);
  const remote = canRun ? everything : restricted(everything, new Set([...off, "exec"]), undefined);
  const otherwise = exec.allow_remote === true ? remote : without(DEFAULT_PERMISSIONS);
  return ({ client, isRemote = false }) => {
    if (!isRemote) return everything;
    return known.find(({ pattern }) => matchesPattern(pattern, client))?.permissions ?? otherwise;
  };
}

function restricted(
  permissions: Permissions,
  off: ReadonlySet<string>,
  profile: TurnProfile | undefined,
): Permissions {
  if (off.size === 0 && profile === undefined) return permissions;
  const { tools, history = "default" } = profile ?? {};
  const isLeft = (tool: string): boolean =>
    !isSwitchedOff(tool, off) &&
    (tools?.has(tool) ?? true) &&
    (history === "default" || !LATER_RESULTS.has(tool));
  return { ...permissions, allows: (tool) => isLeft(tool) && permissions.allows(tool) };
}

/** What they find out is told in a later turn, which may know nothing of an earlier one without a history. */
const LATER_RESULTS: ReadonlySet<string> = new Set(["spawn", "spawn_status"]);

/** Whether the settings switch a tool off; what models call `use_skill` is `tools.skills` there. */
export function isSwitchedOff(tool: string, off: ReadonlySet<string>): boolean {
  return off.has(tool === "use_skill" ? "skills" : tool);
}

/** Under what something is kept for somebody: no two askers have the same, whatever their names hold. */
export function ownerOf({ client, channel = "", isRemote = false }: Caller): string {
  return isRemote ? `${channel.length}:${channel}${client}` : `here:${client}`;
}

interface Place {
  readonly workspace: string;
  readonly canRun: boolean;
}

function profilePermissions(profile: ToolProfile, { workspace, canRun }: Place): Permissions {
  const { tools, read, write, topics } = profile;
  const names = new Set(tools);
  const useless = new Set(ineffectiveTools(profile));
  if (!canRun) useless.add("exec");
  const memory = join(workspace, "memory");
  return {
    allows: (tool) => (names.has(tool) || names.has("*")) && !useless.has(tool),
    files: { read, write },
    topics,
    memory: write.some((folder) => isInside(memory, folder)) ? "shared" : "own",
  };
}

/** Tools that could do nothing with what a profile allows. */
export function ineffectiveTools({ read, write, topics }: Omit<ToolProfile, "pattern" | "tools">) {
  const [cannotRead, cannotWrite] = [read.length === 0, write.length === 0];
  return [
    ...(cannotRead ? ["read_file", "list_dir"] : []),
    ...(cannotWrite ? ["write_file", "append_file"] : []),
    ...(cannotRead || cannotWrite ? ["edit_file"] : []),
    ...(topics.read.length + topics.publish.length === 0 ? ["mqtt"] : []),
  ];
}
