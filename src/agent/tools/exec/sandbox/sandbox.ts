import { execFile } from "node:child_process";
import { homedir, userInfo, platform, totalmem } from "node:os";
import { dirname, join } from "node:path";
import type { ExecSettings } from "../../../../config/contract.ts";
import { KEY_FILES } from "../../../workspace/contract.ts";
import { RefusedCall } from "../../contract.ts";
import type { Sandbox } from "../command.ts";
import { findProgram } from "../environment.ts";
import { chownWorkspace, commandUser, isRoot, setprivArgs } from "./command-user.ts";
import type { CommandUser } from "./command-user.ts";
import { mountCheckArgs } from "./mount-check.ts";
import type { CommandPaths, Mount } from "./mounts.ts";
import { mountsOf } from "./mounts.ts";
import { FILTER_FD, openFilters } from "./syscall-filter.ts";
import type { SyscallFilters } from "./syscall-filter.ts";

export interface SandboxOptions {
  /** Real path. */
  readonly workspace: string;
  readonly settings: Pick<ExecSettings, "sandbox" | "allow_network">;
  /** The configuration's file. The folder around it is hidden. */
  readonly configFile?: string | undefined;
  /** Other files and folders with keys. */
  readonly secretFiles: readonly string[];
  /** The variable PATH. */
  readonly path: string;
  /** Whether the command is a client's, which needs a sandbox unless the owner wrote `none`. */
  readonly isRemote: boolean;
  /** What the client's commands reach outside of the workspace, and what they cannot change. */
  readonly paths: CommandPaths;
}

/** The sandbox of a command; undefined if it runs without one. Throws a `ToolError` if it needs one and has none. */
export async function sandboxFor(options: SandboxOptions): Promise<Sandbox | undefined> {
  const { workspace, settings, configFile, path, paths } = options;
  const bubblewrap = await bubblewrapFor(options);
  if (bubblewrap === undefined) return undefined;
  const network = settings.allow_network;
  const mounts = await mountsOf({
    workspace,
    homes: homeFolders(),
    secrets: secretPaths(options),
    path,
    ...paths,
    readable: [
      ...paths.readable,
      ...(configFile === undefined ? [] : [join(dirname(configFile), "skills")]),
    ],
    network,
  });
  const { program, user } = bubblewrap;
  if (user !== undefined) await chownWorkspace({ program, user }, workspace, mounts);
  const note = `it ran in a sandbox: only the workspace and /tmp are writable${network ? "" : ", there is no network"}, homes and services are out of reach`;
  const args = [...sandboxArgs(bubblewrap, mounts, network), ...(await mountCheckArgs(mounts))];
  return { args, note };
}

/** The bubblewrap that the settings ask for; undefined without one. */
async function bubblewrapFor(options: SandboxOptions): Promise<Bubblewrap | undefined> {
  const { settings, path, isRemote } = options;
  if (settings.sandbox === "none") return undefined;
  const found = await findBubblewrap(path);
  if ("program" in found) return found;
  if (settings.sandbox === "bwrap") {
    throw new RefusedCall(
      `no command is run: tools.exec.sandbox is bwrap, and ${found.why}; the owner can install bubblewrap or set tools.exec.sandbox`,
    );
  }
  if (!isRemote) return undefined;
  throw new RefusedCall(
    "no command is run: commands of clients run only in a sandbox, and bubblewrap does not work here; the owner can install it",
  );
}

function homeFolders(): readonly string[] {
  // The variable HOME and the list of users may differ.
  try {
    return [...new Set([homedir(), userInfo().homedir])];
  } catch {
    return [homedir()];
  }
}

/** The configuration's files, and their folder unless it is the system's or the workspace. */
function secretPaths({ configFile, secretFiles, workspace }: SandboxOptions): readonly string[] {
  if (configFile === undefined) return secretFiles;
  const folder = dirname(configFile);
  const isOwn = !/^\/(?:etc|opt|srv|usr|var)?$/.test(folder) && folder !== workspace;
  const files = [...secretFiles, configFile, join(folder, KEY_FILES.security)];
  return isOwn ? [folder, ...files] : files;
}

/** A bubblewrap that works here. */
interface Bubblewrap {
  /** Absolute path of the program. */
  readonly program: string;
  /** Options that not every version or kernel supports. */
  readonly options: ReadonlySet<Option>;
  /** The user of commands if this program is root; otherwise absent. */
  readonly user?: CommandUser | undefined;
  /** Arguments that open the filter of system calls; absent where it does not work. */
  readonly filters?: SyscallFilters | undefined;
}

/** Why there is none: it is not installed, or it does not work. */
interface NoBubblewrap {
  readonly isInstalled: boolean;
  readonly why: string;
}

type Option = (typeof OPTIONS)[number];

const OPTIONS = ["--disable-userns", "--perms", "--size"] as const;
const AS_ROOT = "this program is root, and commands cannot run as another user";
/** Milliseconds of a trial. */
const TRIAL_MS = 5000;
/** Bytes of memory for each scratch folder, and for each empty one. */
const SCRATCH_BYTES = Math.max(16 * 2 ** 20, Math.floor(totalmem() / 16));
const EMPTY_BYTES = 65_536;

const found = new Map<string, Promise<Bubblewrap | NoBubblewrap>>();

/** Searches PATH for bubblewrap and tries it, once for each PATH. */
export function findBubblewrap(path: string): Promise<Bubblewrap | NoBubblewrap> {
  const result = found.get(path) ?? probe(path);
  found.set(path, result);
  return result;
}

async function probe(path: string): Promise<Bubblewrap | NoBubblewrap> {
  if (platform() !== "linux") {
    return { isInstalled: false, why: "bubblewrap exists only for Linux" };
  }
  const program = await findProgram(path, "bwrap");
  if (program === undefined) return { isInstalled: false, why: "bubblewrap is not installed" };
  const help = await output(program, ["--help"]);
  const supported = OPTIONS.filter((option) => help.text.includes(`${option} `));
  const user = isRoot() ? await commandUser((name) => findProgram(path, name)) : undefined;
  const older =
    help.isFine && !supported.includes("--perms") ? "bubblewrap is older than 0.5" : user;
  if (user !== undefined && typeof older === "string") {
    return { isInstalled: true, why: `${AS_ROOT}: ${older}` };
  }
  const filters = await openFilters();
  return await firstWorking(supported, filters, (options, filtering) => ({
    program,
    options,
    user: typeof user === "object" ? user : undefined,
    filters: filtering,
  }));
}

/** The first that works: with everything, or without what not every kernel supports. */
async function firstWorking(
  supported: readonly Option[],
  filters: SyscallFilters | undefined,
  build: (options: ReadonlySet<Option>, filters: SyscallFilters | undefined) => Bubblewrap,
): Promise<Bubblewrap | NoBubblewrap> {
  const fewer = supported.filter((option) => option !== "--disable-userns");
  const trials = supported.length === fewer.length ? [supported] : [supported, fewer];
  let why = "";
  for (const filtering of filters === undefined ? [undefined] : [filters, undefined]) {
    for (const options of trials) {
      const bubblewrap = build(new Set(options), filtering);
      const trial = await trialOf(bubblewrap);
      if (trial.isFine) return bubblewrap;
      why ||= trial.text;
    }
  }
  return { isInstalled: true, why: `bubblewrap does not work here: ${why}` };
}

function trialOf(bubblewrap: Bubblewrap): ReturnType<typeof output> {
  const mounts: readonly Mount[] = [
    { path: "/dev", as: "system" },
    { path: "/proc", as: "system" },
    { path: "/dev/shm", as: "scratch" },
    { path: "/tmp", as: "empty-folder" },
  ];
  const [program = "", ...args] = sandboxArgs(bubblewrap, mounts, false);
  return output(program, [...args, "/bin/sh", "-c", ":"]);
}

/** The output of a program on one line, and whether it succeeded. */
async function output(
  program: string,
  args: readonly string[],
): Promise<{ readonly isFine: boolean; readonly text: string }> {
  return await new Promise((resolve) => {
    const bounds = { timeout: TRIAL_MS, killSignal: "SIGKILL", env: {} } as const;
    execFile(program, args, bounds, (error, stdout, stderr) => {
      const text = `${stdout}${stderr}`.trim() || (error?.message ?? "");
      resolve({ isFine: error === null, text: text.replace(/\s+/g, " ") });
    });
  });
}

/** A new session: no input into the gateway's terminal (TIOCSTI). No process outlives the gateway. */
const ISOLATION =
  "--die-with-parent --new-session --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try";
/**
 * Kernel settings below /proc: sysctls check the owner and no capability, and every user may write
 * pressure triggers.
 */
const KERNEL_MOUNTS = "--ro-bind /proc/sys /proc/sys --ro-bind-try /proc/pressure /proc/pressure";
/** Capabilities to enter another user's folder and to change the user; they are lost with that. */
const USER_CHANGE =
  "--cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_SETPCAP --cap-add CAP_DAC_READ_SEARCH";

function filterOpener(filters: SyscallFilters | undefined, network: boolean): readonly string[] {
  return filters?.[network ? "online" : "offline"] ?? [];
}

function filterOption(filters: SyscallFilters | undefined): readonly string[] {
  return filters === undefined ? [] : ["--seccomp", String(FILTER_FD)];
}

/**
 * The arguments before a command that put it into a sandbox. If this program is root, so is bubblewrap: it
 * reaches a workspace in root's home, then changes the user. That user starts a second bubblewrap, whose
 * user namespace allows no further one.
 */
export function sandboxArgs(
  { program, options, user, filters }: Bubblewrap,
  mounts: readonly Mount[],
  network: boolean,
): readonly string[] {
  const size = (bytes: number) => (options.has("--size") ? ["--size", String(bytes)] : []);
  const closed = options.has("--perms") ? ["--perms", "0555"] : [];
  // Root mounts it, another user fills it.
  const shared = user === undefined ? [] : ["--perms", "1777"];
  // Folders that bubblewrap creates on the way to a private folder would be accessible to root only.
  const around = (path: string) =>
    user === undefined ? [] : ["--perms", "0755", "--dir", dirname(path)];
  const mountArgs = ({ path, as, from = path }: Mount): readonly string[] => {
    if (as === "system") return [path === "/dev" ? "--dev" : "--proc", path];
    if (as === "empty-file") return ["--ro-bind", "/dev/null", path];
    if (as === "empty-folder") return [...closed, ...size(EMPTY_BYTES), "--tmpfs", path];
    if (as === "scratch") return [...shared, ...size(SCRATCH_BYTES), "--tmpfs", path];
    return [...around(path), as === "read-only" ? "--ro-bind" : "--bind", from, path];
  };
  const own = ["--unshare-user", ...(options.has("--disable-userns") ? ["--disable-userns"] : [])];
  const isNested = user !== undefined && options.has("--disable-userns");
  return [
    ...filterOpener(filters, network),
    program,
    ...ISOLATION.split(" "),
    ..."--cap-drop ALL".split(" "),
    ...(user === undefined ? own : USER_CHANGE.split(" ")),
    ...(network ? [] : ["--unshare-net"]),
    ..."--ro-bind / /".split(" "),
    ...mounts.flatMap(mountArgs),
    // With a second bubblewrap these mounts follow there: --disable-userns writes to /proc/sys first.
    ...(isNested ? [] : KERNEL_MOUNTS.split(" ")),
    ...filterOption(filters),
    ..."--remount-ro /dev --".split(" "),
    ...(user === undefined ? [] : setprivArgs(user)),
    ...(isNested ? [program, "--die-with-parent", ...own, "--dev-bind", "/", "/"] : []),
    ...(isNested ? [...KERNEL_MOUNTS.split(" "), "--"] : []),
  ];
}
