import { lstat, mkdir, realpath, stat, readFile } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { isInside } from "../../../../base/path-contains.ts";
import type { Permissions } from "../../../access/permissions.ts";
import { OWNER_FILES } from "../../../workspace/contract.ts";

/** What is peculiar to this machine and this command. */
export interface MountOptions {
  /** Real path. */
  readonly workspace: string;
  /** Folders of the program's user: nothing in them is seen, what is written there is gone afterwards. */
  readonly homes: readonly string[];
  /** Files and folders that hold keys: of the configuration, of systemd. */
  readonly secrets: readonly string[];
  /** The variable PATH. */
  readonly path: string;
  /** Absolute paths that may be read although they lie in what is hidden, and others that may be written. */
  readonly readable: readonly string[];
  readonly writable: readonly string[];
  /** Absolute paths in the workspace that may only be read. */
  readonly fixed: readonly string[];
  readonly network: boolean;
}

/** One thing that the sandbox puts on a path. */
export interface Mount {
  readonly path: string;
  /** `blank`: nothing is there; `private`: nothing at first; `seen` and `writable`: the machine's own. */
  readonly as: "system" | "blank" | "nothing" | "private" | "seen" | "writable";
  /** Where what is seen really lies, where that is elsewhere. */
  readonly from?: string;
}

/** Of two things on one path the later counts: a file with keys is never open. */
const ORDER: readonly Mount["as"][] = ["system", "blank", "private", "seen", "writable", "nothing"];

/**
 * What a sandbox shows: the machine's files to be read, a workspace to be written, no secrets. In the
 * order in which it is to be mounted: what lies in a folder comes after the folder.
 */
export async function mountsOf(grounds: MountOptions): Promise<readonly Mount[]> {
  const { workspace, homes, secrets, readable, writable, fixed } = grounds;
  await ensureMemories(workspace);
  const workspaceSecrets = WORKSPACE_SECRETS.map((name) => join(workspace, name));
  const hidden = await existing(
    [...HIDDEN, ...(await closedPaths(grounds)), ...secrets, ...workspaceSecrets].map(emptyOf),
  );
  const emptied = await existing([...SCRATCH, ...homes].map(scratchOf));
  const kept = STATE_FOLDERS.map(async (name): Promise<Mount> => {
    const path = join(workspace, name);
    return { path: (await realOrNone(path)) ?? path, as: "blank" };
  });
  const all: Mount[] = [
    { path: "/dev", as: "system" },
    { path: "/proc", as: "system" },
    ...hidden,
    ...emptied,
    ...(await neededMounts(grounds, [...hidden, ...emptied])),
    { path: workspace, as: "writable" },
    ...(await Promise.all(kept)),
  ];
  const opened = await existing([
    ...[...readable, ...fixed].map((path) => openOf(path, "seen")),
    ...writable.map((path) => openOf(path, "writable")),
  ]);
  const closed = [...STATE_FOLDERS.map((name) => join(workspace, name)), ...workspaceSecrets];
  all.push(...opened.filter(({ path }) => !closed.some((folder) => isInside(path, folder))));
  all.push(...(await placeholdersFor(fixed)));
  const sorted = all.toSorted(
    (left, right) =>
      depthOf(left.path) - depthOf(right.path) || ORDER.indexOf(left.as) - ORDER.indexOf(right.as),
  );
  const lasting = [...new Map(sorted.map((mount) => [mount.path, mount])).values()];
  const needed = lasting.filter((mount) => !isHiddenAlready(mount, lasting));
  return needed.flatMap((mount) => parentMounts(mount, needed).concat(mount));
}

/**
 * The folders from what can be written down to something in it with rules of its own, each put on itself: a
 * command can move a folder with all that was put below it, but not a folder that something was put on.
 * Moved away, what was hidden in it would lie open for the next command, and a link could stand in its place.
 */
function parentMounts({ path }: Mount, all: readonly Mount[]): readonly Mount[] {
  const around = all.findLast((mount) => mount.path !== path && isInside(path, mount.path));
  if (around?.as !== "writable") return [];
  const pins: Mount[] = [];
  for (let folder = dirname(path); folder !== around.path; folder = dirname(folder)) {
    pins.unshift({ path: folder, as: "writable" });
  }
  return pins;
}

/**
 * Memories of clients are hidden by what is put on their folder: a command that began before there was one
 * would see those that come while it runs. Not where there is no memory, which is no agent's workspace.
 */
async function ensureMemories(workspace: string): Promise<void> {
  const [around, name] = MEMORIES;
  const isFolder = await lstat(join(workspace, around)).then(
    (one) => one.isDirectory(),
    () => false,
  );
  // It may be there already; where this program may not write, no memory comes either.
  if (isFolder) await mkdir(join(workspace, around, name), { mode: 0o711 }).catch(() => undefined);
}

/** What lies around what the command was given and is not everyone's, and services that answer. */
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
 * Stands for what is fixed and not there, where a command could make one of its own: an empty one, which
 * says nothing and is left behind. Not where nothing of it is there, which is no agent's workspace; and no
 * AGENT.md beside its older forms, which count for as long as there is none.
 */
async function placeholdersFor(fixed: readonly string[]): Promise<readonly Mount[]> {
  const real = await Promise.all(fixed.map(realOrNone));
  const absent = fixed.filter((_, index) => real[index] === undefined);
  if (absent.length === fixed.length) return [];
  const hasOlder = fixed.some((path) => isOlderForm(path) && !absent.includes(path));
  return absent
    .filter((path) => !isOlderForm(path) && !(hasOlder && basename(path) === "AGENT.md"))
    .map((path) => ({ path, as: path.endsWith(".md") ? "nothing" : "blank" }));
}

/** The older forms of AGENT.md. */
function isOlderForm(path: string): boolean {
  return /^(?:AGENTS|IDENTITY)\.md$/.test(basename(path));
}

/** What nobody sees need not be hidden. */
function isHiddenAlready({ path, as }: Mount, all: readonly Mount[]): boolean {
  if (as !== "blank" && as !== "nothing") return false;
  const around = all.findLast((mount) => mount.path !== path && isInside(path, mount.path));
  return around?.as === "blank" || around?.as === "private";
}

/** What is hidden for the most part, and needed: where programs are, and the names of the network. */
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
    // A folder of links may lie in what is hidden, and what they lead to elsewhere.
    const seen = [...new Set([real, resolve(name)])].filter(isHidden);
    return seen.map((one) => ({ path: one, as: "seen", from: real }));
  });
  return (await Promise.all(mounts)).flat();
}

async function existing(mounts: readonly Promise<Mount | undefined>[]): Promise<readonly Mount[]> {
  return (await Promise.all(mounts)).filter((mount) => mount !== undefined);
}

async function openOf(path: string, as: "seen" | "writable"): Promise<Mount | undefined> {
  const real = await realOrNone(path);
  return real === undefined ? undefined : { path: real, as };
}

async function emptyOf(path: string): Promise<Mount | undefined> {
  const real = await realOrNone(path);
  if (real === undefined || real === "/") return undefined;
  return { path: real, as: (await stat(real)).isDirectory() ? "blank" : "nothing" };
}

async function scratchOf(path: string): Promise<Mount | undefined> {
  const real = await realOrNone(path);
  return real === undefined || real === "/" ? undefined : { path: real, as: "private" };
}

async function realOrNone(path: string): Promise<string | undefined> {
  return await realpath(path).catch(() => undefined);
}

function depthOf(path: string): number {
  return path.split("/").filter((name) => name !== "").length;
}

/**
 * What commands in the sandbox do not see although the rest of the machine can be read there: other
 * people's homes, sockets of those who do things for whoever asks, and what only root reads (the
 * gateway may be root). What is not there is left out.
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

/** Folders that commands may fill and that are gone with them. */
const SCRATCH: readonly string[] = ["/tmp", "/var/tmp", "/dev/shm"];

/** Names in the workspace that are everyone's conversations and memories, and what keeps keys there. */
const STATE_FOLDERS: readonly string[] = ["state", "sessions"];
const MEMORIES = ["memory", "clients"] as const;
const WORKSPACE_SECRETS: readonly string[] = [
  MEMORIES.join("/"),
  "config.json",
  ".security.yml",
  ".picoclaw",
];

/**
 * Folders around a path that only their owner may pass: who sees nothing in them passes what is put in
 * their place. None where everybody may go there.
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
 * Sockets of services with a path, wherever that is: who can connect can ask for what the service may do.
 * A folder that can only be read would not keep anybody from it (unix(7)).
 */
async function listeningSockets(): Promise<readonly string[]> {
  const text = await readFile("/proc/net/unix", "utf8").catch(() => "");
  // Number, references, protocol, flags (accepts connections: 1 << 16), type, state, inode, path.
  const paths = text.matchAll(/^\S+: \S+ \S+ 00010000 \S+ \S+ +\d+ (\/.*)$/gm);
  return [...new Set([...paths].map(([, path = ""]) => path))];
}

/** What somebody's commands reach beside the workspace, and what in it they cannot change. */
export interface CommandPaths {
  /** Absolute paths, with all below them. */
  readonly readable: readonly string[];
  readonly writable: readonly string[];
  readonly fixed: readonly string[];
}

/** A folder of the workspace that is told to everyone; who may write around it may write in it, too. */
const MEMORY = "memory";

/**
 * What permissions mean for commands: paths of a profile outside of the workspace open in the sandbox as they
 * do for the file tools, and who may not write what instructs the agent cannot do so by a command: only a
 * profile that names it may, not one that names the folder around it.
 */
export function commandPaths(
  { files }: Pick<Permissions, "files">,
  workspace: string,
): CommandPaths {
  if (files === undefined) return { readable: [], writable: [], fixed: [] };
  const beside = (paths: readonly string[]): readonly string[] =>
    paths.filter((path) => !isInside(path, workspace));
  const owners = OWNER_FILES.map((name) => join(workspace, name));
  const named = files.write.filter((path) => owners.some((owner) => isInside(path, owner)));
  const memory = join(workspace, MEMORY);
  const isOpen = files.write.some((folder) => isInside(memory, folder));
  const fixed = [...owners, ...(isOpen ? [] : [memory])].filter((path) => !named.includes(path));
  return { readable: beside(files.read), writable: [...beside(files.write), ...named], fixed };
}
