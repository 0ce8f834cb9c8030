import { join } from "node:path";
import { A2A_CLIENTS, matchesPattern } from "../../base/client-pattern.ts";
import { isInside } from "../../base/path-contains.ts";
import type { ToolProfile, ToolSettings, TurnProfile } from "../../config/contract.ts";
import { isListed } from "../tools/mcp/names.ts";

/** The sender of a request. */
export interface Caller {
  /** Opaque. It identifies a client only together with the channel. */
  readonly client: string;
  /** The channel's name in the configuration; absent for a user at this machine. */
  readonly channel?: string | undefined;
  /** The request came over a channel, not from this machine; default false. */
  readonly isRemote?: boolean;
  /** Agents that the question has come through; 0 if left out. */
  readonly hops?: number | undefined;
  /** A job began the turn, or the turn whose task this is. */
  readonly isFromJob?: boolean;
}

/** What a caller may do through the agent. */
export interface Permissions {
  /** Whether a tool may be offered and run, by its name in profiles. */
  readonly allows: (tool: string) => boolean;
  /** Absolute paths with everything below them, as written; absent: what the settings allow everyone. */
  readonly files?: FilePermissions;
  readonly topics: TopicPermissions;
  /** Patterns of the agents that the caller may have asked; none if left out. */
  readonly agents?: readonly string[];
  /** Patterns of the other clients to which the caller may have messages sent; none if left out. */
  readonly messageTo?: readonly string[];
  /** Calls that a person has to allow; none if left out. */
  readonly confirm?: ConfirmRule;
  /** Whether the caller may change the shared memory, or only its own. */
  readonly memory: "shared" | "own";
}

/** Which calls wait for a person, and for whom. */
export interface ConfirmRule {
  /** Ids of the clients that may allow them; at least one. */
  readonly by: readonly string[];
  /** Patterns of names of tools, of classes, or of `tool:class`; all that may change something if it is empty. */
  readonly tools: readonly string[];
  readonly minutes: number;
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

/** Whether a client may run commands, as far as the settings say. */
export function mayClientsRun({ off, profiles, exec }: ToolSettings): boolean {
  if (off.has("exec")) return false;
  if (exec.allow_remote !== undefined) return exec.allow_remote;
  return profiles.some(({ tools }) => tools.includes("exec") || tools.includes("*"));
}

/** Whether commands that clients run in the sandbox reach this machine's services. */
export function haveCommandsNetwork(tools: ToolSettings): boolean {
  return tools.exec.allow_network && mayClientsRun(tools);
}

/** Whether the settings give some client one of these tools. */
export function mayClientsUse(
  names: readonly string[],
  { off, profiles, exec }: ToolSettings,
): boolean {
  const given = names.filter((name) => !off.has(name));
  if (exec.allow_remote === true) return given.length > 0;
  return profiles.some(
    ({ tools }) => tools.includes("*") || given.some((name) => tools.includes(name)),
  );
}

/** Full access, except to the agent's own topics. */
export const FULL_ACCESS: Permissions = {
  allows: () => true,
  topics: { read: ["#", "$SYS/#"], publish: ["#"] },
  agents: ["*"],
  messageTo: ["*"],
  memory: "shared",
};

/**
 * The tools of a remote client without a profile: facts of the device, web pages, its own memory. Skills
 * are included because their list is part of every prompt and they contain only what the owner wrote.
 * Subagents are not, because all clients share a few slots for them.
 */
const DEFAULT_TOOLS: ReadonlySet<string> = new Set(["device", "memory", "use_skill", "web_fetch"]);

const DEFAULT_PERMISSIONS: Permissions = {
  allows: (tool) => DEFAULT_TOOLS.has(tool),
  files: { read: [], write: [] },
  topics: { read: [], publish: [] },
  memory: "own",
};

const NO_PERMISSIONS: Permissions = { ...DEFAULT_PERMISSIONS, allows: () => false };

export interface PermissionSettings {
  readonly tools: Pick<ToolSettings, "profiles" | "exec" | "off">;
  /** Absolute path. */
  readonly workspace: string;
  /** Restricts every turn, also those at this machine. */
  readonly turnProfile?: TurnProfile | undefined;
  /** Whether the sandbox for commands of clients is available; default true. */
  readonly isSandboxed?: boolean;
}

/** Returns the permissions of a caller: one object for each profile, however many clients have it. */
export type PermissionsOf = (caller: Caller) => Permissions;

/**
 * The permissions of a configuration. A user at this machine has full access. A client has those of the
 * first profile whose pattern matches, and other agents (`a2a:…`) those of the first that names them. Without a profile it has full access if `tools.exec.allow_remote` is
 * true, and the default tools otherwise. No client runs commands without a sandbox, unless the owner
 * switched it off. Tools that the settings or the turn profile switch off are available to nobody.
 */
export function createPermissions(settings: PermissionSettings): PermissionsOf {
  const { tools, turnProfile } = settings;
  const { exec, off } = tools;
  const canRun = clientsMayRun(settings);
  const without = (permissions: Permissions): Permissions =>
    restrict(permissions, off, turnProfile);
  const entries = permissionsOfProfiles(settings);
  const everything = without(FULL_ACCESS);
  const remote = canRun ? everything : restrict(everything, new Set([...off, "exec"]), undefined);
  const otherwise = exec.allow_remote === true ? remote : without(DEFAULT_PERMISSIONS);
  const forAgents = entries.filter(({ pattern }) => pattern.startsWith(A2A_CLIENTS));
  return ({ client, isRemote = false }) => {
    if (!isRemote) return everything;
    const isAgent = client.startsWith(A2A_CLIENTS);
    const found = (isAgent ? forAgents : entries).find(({ pattern }) =>
      matchesPattern(pattern, client),
    );
    return found?.permissions ?? (isAgent ? NO_PERMISSIONS : otherwise);
  };
}

/** The permissions of each profile's clients, in the order of the file. */
export function permissionsOfProfiles(settings: PermissionSettings): readonly ProfileEntry[] {
  const { tools, workspace, turnProfile } = settings;
  const canRun = clientsMayRun(settings);
  return tools.profiles.map((profile) => {
    const permissions = profilePermissions(profile, { workspace, canRun });
    return {
      pattern: profile.pattern,
      permissions: restrict(permissions, tools.off, turnProfile),
    };
  });
}

export interface ProfileEntry {
  readonly pattern: string;
  readonly permissions: Permissions;
}

function clientsMayRun({ tools: { exec }, isSandboxed = true }: PermissionSettings): boolean {
  return isSandboxed && exec.allow_remote !== false;
}

function restrict(
  permissions: Permissions,
  off: ReadonlySet<string>,
  profile: TurnProfile | undefined,
): Permissions {
  if (off.size === 0 && profile === undefined) return permissions;
  const { tools, history = "default" } = profile ?? {};
  const isAllowed = (tool: string): boolean =>
    !isSwitchedOff(tool, off) &&
    (tools === undefined || isListed(tools, tool) || isListed(tools, tool.toLowerCase())) &&
    (history === "default" || !LATER_RESULTS.has(tool));
  return { ...permissions, allows: (tool) => isAllowed(tool) && permissions.allows(tool) };
}

/** Tools whose results arrive in a later turn, which knows nothing of this one without a history. */
const LATER_RESULTS: ReadonlySet<string> = new Set(["spawn", "spawn_status"]);

/** Whether the settings switch a tool off. The tool `use_skill` is `tools.skills` in the settings. */
export function isSwitchedOff(tool: string, off: ReadonlySet<string>): boolean {
  return off.has(tool === "use_skill" ? "skills" : tool);
}

/** The key for what is stored for a caller. No two callers have the same, whatever their names contain. */
export function ownerOf({ client, channel = "", isRemote = false }: Caller): string {
  return isRemote ? `${channel.length}:${channel}${client}` : `here:${client}`;
}

interface Place {
  readonly workspace: string;
  readonly canRun: boolean;
}

function profilePermissions(profile: ToolProfile, { workspace, canRun }: Place): Permissions {
  const { tools, read, write, topics, agents, message_to, confirm } = profile;
  const names = new Set(tools);
  const useless = new Set(ineffectiveTools(profile));
  if (!canRun) useless.add("exec");
  const memory = join(workspace, "memory");
  return {
    allows: (tool) => isNamed(tool, names) && !useless.has(tool),
    files: { read, write },
    topics,
    agents,
    messageTo: message_to,
    ...(confirm.by.length > 0 && { confirm }),
    memory: write.some((folder) => isInside(memory, folder)) ? "shared" : "own",
  };
}

/** Whether a profile names a tool. Only tools of MCP servers have a dot. */
function isNamed(tool: string, names: ReadonlySet<string>): boolean {
  return names.has(tool) || names.has("*") || (tool.includes(".") && isListed(names, tool));
}

/** Tools that can do nothing with the paths and topics of a profile. */
export function ineffectiveTools({
  read,
  write,
  topics,
  agents,
}: Pick<ToolProfile, "read" | "write" | "topics" | "agents">) {
  const [cannotRead, cannotWrite] = [read.length === 0, write.length === 0];
  return [
    ...(cannotRead ? ["read_file", "list_dir", "load_image"] : []),
    ...(cannotWrite ? ["write_file", "append_file"] : []),
    ...(cannotRead || cannotWrite ? ["edit_file"] : []),
    ...(agents.length === 0 ? ["ask_agent"] : []),
    ...(topics.read.length + topics.publish.length === 0 ? ["mqtt", "devices"] : []),
    ...(topics.publish.length === 0 ? ["set_device"] : []),
  ];
}
