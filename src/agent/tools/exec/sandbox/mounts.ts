import { lstat, mkdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { isInside } from "../../../../base/path-contains.ts";
import type { FilePermissions } from "../../../access/permissions.ts";
import {
  CLIENT_MEMORIES,
  KEY_FILES,
  OWNER_FILES,
  STATE_FOLDERS,
} from "../../../workspace/contract.ts";
import { hardLinksOf } from "./hard-links.ts";

/** What a client's commands reach outside of the workspace, and what in it they cannot change. Absolute paths, with all below them. */
export interface CommandPaths {
  readonly readable: readonly string[];
  readonly writable: readonly string[];
  /** In the workspace. */
  readonly readOnly: readonly string[];
}

/** A folder of the workspace that every client's model reads. A profile that may write around it may write in it. */
const MEMORY = "memory";

/**
 * What file permissions mean for commands. Paths of a profile outside of the workspace open in the sandbox
 * as they do for the file tools. Files that instruct the agent are writable only for a profile that names
 * them, not for one that names the folder around them. Without permissions nothing is restricted.
 */
export function commandPaths(files: FilePermissions | undefined, workspace: string): CommandPaths {
  if (files === undefined) return { readable: [], writable: [], readOnly: [] };
  const outside = (paths: readonly string[]): readonly string[] =>
    paths.filter((path) => !isInside(path, workspace));
  const owners = OWNER_FILES.map((name) => join(workspace, name));
  const named = files.write.filter((path) => owners.some((owner) => isInside(path, owner)));
  const memory = join(workspace, MEMORY);
  const isOpen = files.write.some((folder) => isInside(memory, folder));
  const readOnly = [...owners, ...(isOpen ? [] : [memory])].filter((path) => !named.includes(path));
  return {
    readable: outside(files.read),
    writable: [...outside(files.write), ...named],
    readOnly,
  };
}

/** This machine and this command. */
export interface MountOptions extends CommandPaths {
  /** Real path. */
  readonly workspace: string;
  /** Home folders of the program's user: they are empty, and what is written there is lost. */
  readonly homes: readonly string[];
  /** Files and folders with keys: of the configuration, of systemd. */
  readonly secrets: readonly string[];
  /** The variable PATH. */
  readonly path: string;
  readonly network: boolean;
}

/** What the sandbox mounts on a path. */
export interface Mount {
  readonly path: string;
  /** `system`: /dev and /proc; `scratch`: an empty folder that commands may fill; `read-only` and `writable`: the machine's own. */
  readonly as: "system" | "empty-folder" | "empty-file" | "scratch" | "read-only" | "writable";
  /** The real path of what is mounted, if it is another. */
  readonly from?: string;
}

/** Of two mounts on one path the later one wins: a file with keys is never open. */
const ORDER: readonly Mount["as"][] = [
  "system",
  "empty-folder",
  "scratch",
  "read-only",
  "writable",
  "empty-file",
];

/**
 * Hidden although the rest of the machine can be read: homes of other users, sockets of services that
 * obey every local process, and what only root reads (the gateway may be root).
 */
const HIDDEN: readonly string[] = [
  "/home",
  "/root",
  // Sockets: dbus, docker, podman, libvirt, agents of ssh and gpg; credentials of systemd's services.
  "/run",
  "/var/run",
  // Mounted disks of others, and this machine's before it started.
  "/media",
  "/mnt",
  "/boot",
  "/var/lib/docker",
  "/var/lib/containerd",
  "/var/lib/lxd",
  "/var/lib/incus",
  "/var/snap/lxd",
  "/var/lib/libvirt",
  "/var/lib/systemd",
  "/var/lib/private",
  "/var/spool",
  "/var/backups",
  "/var/mail",
  // Keys and passwords of the machine.
  "/etc/shadow",
  "/etc/shadow-",
  "/etc/gshadow",
  "/etc/gshadow-",
  "/etc/sudoers",
  "/etc/sudoers.d",
  "/etc/ssh",
  "/etc/ssl/private",
  "/etc/pki/tls/private",
  "/etc/letsencrypt",
  "/etc/mosquitto",
  "/etc/NetworkManager/system-connections",
  "/etc/netplan",
  "/etc/wpa_supplicant",
  "/etc/wireguard",
  "/etc/openvpn",
  "/etc/ppp",
  "/etc/docker",
  "/etc/credstore",
  "/etc/credstore.encrypted",
  "/etc/cloud",
];

/** Folders that commands may fill; their content is lost afterwards. */
const SCRATCH: readonly string[] = ["/tmp", "/var/tmp", "/dev/shm"];

/** What is hidden in the workspace, besides conversations, if it exists: memories and keys. */
const WORKSPACE_SECRETS = [CLIENT_MEMORIES, ...Object.values(KEY_FILES), ".picoclaw"];

/**
 * The mounts of a sandbox: the machine's files are readable, the workspace is writable, secrets are
 * hidden. In the order of mounting: a folder comes before what lies in it.
 */
export async function mountsOf(options: MountOptions): Promise<readonly Mount[]> {
  const { workspace, homes, secrets, readable, writable, readOnly } = options;
  await ensureMemories(workspace);
  const workspaceSecrets = WORKSPACE_SECRETS.map((name) => join(workspace, name));
  const stateFolders = STATE_FOLDERS.map((name) => join(workspace, name));
  const hardLinks = await hardLinksOf(
    {
      files: [...secrets, ...workspaceSecrets],
      folders: [...stateFolders, join(workspace, CLIENT_MEMORIES)],
    },
    [workspace, ...readable, ...writable],
  );
  const secretPaths = [
    ...HIDDEN,
    ...(await closedPaths(options)),
    ...secrets,
    ...workspaceSecrets,
    ...hardLinks,
  ];
  const hidden = notRoot(await existing(secretPaths, emptyOn));
  const scratch = notRoot(await existing([...SCRATCH, ...homes], () => "scratch"));
  const state = stateFolders.map(async (path): Promise<Mount> => {
    return { path: (await realOrNone(path)) ?? path, as: "empty-folder" };
  });
  const all: Mount[] = [
    { path: "/dev", as: "system" },
    { path: "/proc", as: "system" },
    ...hidden,
    ...scratch,
    ...(await neededMounts(options, [...hidden, ...scratch])),
    { path: workspace, as: "writable" },
    ...(await Promise.all(state)),
  ];
  const opened = [
    ...(await existing([...readable, ...readOnly], () => "read-only")),
    ...(await existing(writable, () => "writable")),
  ];
  const closed = [...stateFolders, ...workspaceSecrets];
  all.push(...opened.filter(({ path }) => !closed.some((folder) => isInside(path, folder))));
  all.push(...(await placeholdersFor(readOnly)));
  const effective = outermostFirst(all);
  const needed = effective.filter((mount) => !isHiddenAlready(mount, effective));
  return outermostFirst([...needed.flatMap((mount) => parentMounts(mount, needed)), ...needed]);
}

/** One mount for each path, a folder before what lies in it: a mount covers what was mounted below it. */
function outermostFirst(mounts: readonly Mount[]): readonly Mount[] {
  const sorted = mounts.toSorted(
    (left, right) =>
      depthOf(left.path) - depthOf(right.path) || ORDER.indexOf(left.as) - ORDER.indexOf(right.as),
  );
  return [...new Map(sorted.map((mount) => [mount.path, mount])).values()];
}

/**
 * Makes the folder of the clients' memories, so that a mount hides it from every command. Otherwise a
 * command that started before the first memory would see those written while it runs, and could put a link
 * in the place of the folder.
 */
async function ensureMemories(workspace: string): Promise<void> {
  const folder = join(workspace, CLIENT_MEMORIES);
  const isLink = await lstat(dirname(folder)).then(
    (one) => !one.isDirectory(),
    () => false,
  );
  // Where this program may not write, it writes no memories either.
  if (!isLink) await mkdir(folder, { recursive: true, mode: 0o711 }).catch(() => undefined);
}

/** Private folders around what the command may use, and sockets of services. */
async function closedPaths({
  workspace,
  readable,
  writable,
}: MountOptions): Promise<readonly string[]> {
  const given = [workspace, ...readable, ...writable];
  const closed = await Promise.all([listeningSockets(), ...given.map(privateParents)]);
  return closed.flat().filter((path) => !given.some((folder) => isInside(path, folder)));
}

/**
 * Folders around a path that not everybody may enter. An empty folder is mounted on them, which the
 * command's user can enter.
 */
async function privateParents(path: string): Promise<readonly string[]> {
  const closed: string[] = [];
  for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
    const isOpen = await stat(folder).then(
      ({ mode }) => (mode & 0o001) !== 0,
      () => true,
    );
    if (!isOpen) closed.push(folder);
  }
  return closed;
}

/**
 * Sockets of services, wherever their paths are: a process that connects can use the service's rights. A
 * read-only folder does not prevent that (unix(7)).
 */
async function listeningSockets(): Promise<readonly string[]> {
  const text = await readFile("/proc/net/unix", "utf8").catch(() => "");
  // Number, references, protocol, flags (accepts connections: 1 << 16), type (datagrams: 2), state, inode, path.
  const paths = text.matchAll(/^\S+: \S+ \S+ (?:00010000 \S+|\S+ 0002) \S+ +\d+ (\/.*)$/gm);
  return [...new Set([...paths].map(([, path = ""]) => path))];
}

/** What commands need in hidden folders: the folders of programs, and the resolver of the network. */
async function neededMounts(
  { path, network, homes }: MountOptions,
  hidden: readonly Mount[],
): Promise<readonly Mount[]> {
  const folders = path.split(":").filter((folder) => isAbsolute(folder));
  const libraries = folders
    .filter((folder) => basename(folder) === "bin")
    .map((folder) => join(dirname(folder), "lib"));
  const names = network ? ["/etc/resolv.conf"] : [];
  const isHidden = (one: string): boolean =>
    hidden.some((mount) => one !== mount.path && isInside(one, mount.path)) &&
    !homes.some((home) => isInside(home, one));
  const mounts = [...folders, ...libraries, ...names].map(async (name): Promise<Mount[]> => {
    const real = await realOrNone(name);
    if (real === undefined) return [];
    // The path and its real path may both be hidden.
    const paths = [...new Set([real, resolve(name)])].filter(isHidden);
    return paths.map((one) => ({ path: one, as: "read-only", from: real }));
  });
  return (await Promise.all(mounts)).flat();
}

/**
 * Empty stand-ins for read-only files that do not exist: otherwise a command could create them. They stay
 * in the workspace. None if none of the owner's files exists, for then it is no agent's workspace; no AGENT.md
 * next to its older forms, which count only without it.
 */
async function placeholdersFor(readOnly: readonly string[]): Promise<readonly Mount[]> {
  const real = await Promise.all(readOnly.map(realOrNone));
  const absent = readOnly.filter((_, index) => real[index] === undefined);
  const isAgents = readOnly.some((path) => !absent.includes(path) && basename(path) !== MEMORY);
  if (!isAgents) return [];
  const hasOlder = readOnly.some((path) => isOlderForm(path) && !absent.includes(path));
  return absent
    .filter((path) => !isOlderForm(path) && !(hasOlder && basename(path) === "AGENT.md"))
    .map((path) => ({ path, as: path.endsWith(".md") ? "empty-file" : "empty-folder" }));
}

/** The older forms of AGENT.md. */
function isOlderForm(path: string): boolean {
  return /^(?:AGENTS|IDENTITY)\.md$/.test(basename(path));
}

/** What lies in a hidden folder needs no mount of its own. */
function isHiddenAlready({ path, as }: Mount, all: readonly Mount[]): boolean {
  if (as !== "empty-folder" && as !== "empty-file") return false;
  const around = all.findLast((mount) => mount.path !== path && isInside(path, mount.path));
  return around?.as === "empty-folder" || around?.as === "scratch";
}

/**
 * The folders between a writable mount and a mount in it, each mounted on itself. A command can move a
 * folder with the mounts in it, but not a mount. Without these mounts it could move the folder away: the
 * next command would see what was hidden there, and a link could take its place.
 */
function parentMounts({ path }: Mount, all: readonly Mount[]): readonly Mount[] {
  const around = all.findLast((mount) => mount.path !== path && isInside(path, mount.path));
  if (around?.as !== "writable") return [];
  const parents: Mount[] = [];
  for (let folder = dirname(path); folder !== around.path; folder = dirname(folder)) {
    parents.unshift({ path: folder, as: "writable" });
  }
  return parents;
}

/** The mounts on the real paths of those that exist. */
async function existing(
  paths: readonly string[],
  asOf: (real: string) => Mount["as"] | Promise<Mount["as"]>,
): Promise<readonly Mount[]> {
  const mounts = paths.map(async (path): Promise<Mount[]> => {
    const real = await realOrNone(path);
    return real === undefined ? [] : [{ path: real, as: await asOf(real) }];
  });
  return (await Promise.all(mounts)).flat();
}

function notRoot(mounts: readonly Mount[]): readonly Mount[] {
  return mounts.filter(({ path }) => path !== "/");
}

async function emptyOn(path: string): Promise<Mount["as"]> {
  return (await stat(path)).isDirectory() ? "empty-folder" : "empty-file";
}

async function realOrNone(path: string): Promise<string | undefined> {
  return await realpath(path).catch(() => undefined);
}

function depthOf(path: string): number {
  return path.split("/").filter((name) => name !== "").length;
}
