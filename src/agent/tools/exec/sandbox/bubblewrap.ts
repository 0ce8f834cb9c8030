import { execFile } from "node:child_process";
import { platform, totalmem } from "node:os";
import { dirname } from "node:path";
import { findProgram } from "../environment.ts";
import { commandUser, isRoot, setprivArgs } from "./command-user.ts";
import type { CommandUser } from "./command-user.ts";
import type { Mount } from "./mounts.ts";

/** bubblewrap as it is installed here, and works. */
export interface Bubblewrap {
  /** Absolute path of the program. */
  readonly program: string;
  /** Options that not every version has, and not every kernel lets it use. */
  readonly options: ReadonlySet<Option>;
  /** As whom commands run where this program is root; absent where it is not. */
  readonly user?: CommandUser;
}

/** Why there is none: it is not installed, or it does not work and says so. */
export interface NoBubblewrap {
  readonly isInstalled: boolean;
  readonly why: string;
}

type Option = (typeof OPTIONS)[number];

const OPTIONS = ["--disable-userns", "--perms", "--size"] as const;
const AS_ROOT = "this program is root, and commands cannot be run as somebody else";
/** Milliseconds in which it must have shown that it works. */
const TRIAL_MS = 5000;
/** Bytes of memory that each private folder of a sandbox may hold; of those that are blank, hardly any. */
const PRIVATE_BYTES = Math.max(16 * 2 ** 20, Math.floor(totalmem() / 16));
const BLANK_BYTES = 65_536;

const found = new Map<string, Promise<Bubblewrap | NoBubblewrap>>();

/** Looks for bubblewrap along a PATH and tries it, once in the life of the process. */
export function findBubblewrap(path: string): Promise<Bubblewrap | NoBubblewrap> {
  const known = found.get(path) ?? probe(path);
  found.set(path, known);
  return known;
}

/** A terminal's line cannot be typed into from inside (TIOCSTI), and nobody outlives the gateway. */
const ISOLATION =
  "--die-with-parent --new-session --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try";
/**
 * Below /proc the kernel takes settings: sysctls ask for the owner and not for a capability, and every
 * user may write pressure triggers.
 */
const KERNEL_MOUNTS = "--ro-bind /proc/sys /proc/sys --ro-bind-try /proc/pressure /proc/pressure";
/** What it takes to stand in a folder that is another's, and to become another; it is gone with that. */
const USER_CHANGE =
  "--cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_SETPCAP --cap-add CAP_DAC_READ_SEARCH";

/**
 * The words before a command that put it into a sandbox. Where this program is root, bubblewrap is so, too:
 * it reaches a workspace in root's home, then the user changes, and that user goes into a namespace of its
 * own, in which there are no more of them.
 */
export function sandboxArgs(
  { program, options, user }: Bubblewrap,
  mounts: readonly Mount[],
  network: boolean,
): readonly string[] {
  const size = (bytes: number) => (options.has("--size") ? ["--size", String(bytes)] : []);
  const closed = options.has("--perms") ? ["--perms", "0555"] : [];
  // Mounted by root, and filled by somebody else.
  const shared = user === undefined ? [] : ["--perms", "1777"];
  // What bubblewrap makes on the way to a folder that is its owner's alone would be root's alone.
  const around = (path: string) =>
    user === undefined ? [] : ["--perms", "0755", "--dir", dirname(path)];
  const words = ({ path, as, from = path }: Mount): readonly string[] => {
    if (as === "system") return [path === "/dev" ? "--dev" : "--proc", path];
    if (as === "nothing") return ["--ro-bind", "/dev/null", path];
    if (as === "blank") return [...closed, ...size(BLANK_BYTES), "--tmpfs", path];
    if (as === "private") return [...shared, ...size(PRIVATE_BYTES), "--tmpfs", path];
    return [...around(path), as === "seen" ? "--ro-bind" : "--bind", from, path];
  };
  const own = ["--unshare-user", ...(options.has("--disable-userns") ? ["--disable-userns"] : [])];
  const isNested = user !== undefined && options.has("--disable-userns");
  return [
    program,
    ...ISOLATION.split(" "),
    ..."--cap-drop ALL".split(" "),
    ...(user === undefined ? own : USER_CHANGE.split(" ")),
    ...(network ? [] : ["--unshare-net"]),
    ..."--ro-bind / /".split(" "),
    ...mounts.flatMap(words),
    // A namespace that may have no others says so to the kernel first.
    ...(isNested ? [] : KERNEL_MOUNTS.split(" ")),
    ..."--remount-ro /dev --".split(" "),
    ...(user === undefined ? [] : setprivArgs(user)),
    ...(isNested ? [program, "--die-with-parent", ...own, "--dev-bind", "/", "/"] : []),
    ...(isNested ? [...KERNEL_MOUNTS.split(" "), "--"] : []),
  ];
}

async function probe(path: string): Promise<Bubblewrap | NoBubblewrap> {
  if (platform() !== "linux") {
    return { isInstalled: false, why: "bubblewrap is there for Linux alone" };
  }
  const program = await findProgram(path, "bwrap");
  if (program === undefined) return { isInstalled: false, why: "bubblewrap is not installed" };
  const help = await output(program, ["--help"]);
  const known = OPTIONS.filter((option) => help.text.includes(`${option} `));
  const user = isRoot() ? await commandUser((name) => findProgram(path, name)) : undefined;
  const older = help.isFine && !known.includes("--perms") ? "bubblewrap is older than 0.5" : user;
  if (user !== undefined && typeof older === "string") {
    return { isInstalled: true, why: `${AS_ROOT}: ${older}` };
  }
  return await firstWorking(known, (options) => ({
    program,
    options,
    ...(typeof user === "object" && { user }),
  }));
}

/** The first that works: with all options, or without the one that not every kernel allows. */
async function firstWorking(
  known: readonly Option[],
  build: (options: ReadonlySet<Option>) => Bubblewrap,
): Promise<Bubblewrap | NoBubblewrap> {
  const fewer = known.filter((option) => option !== "--disable-userns");
  const trials = known.length === fewer.length ? [known] : [known, fewer];
  let why = "";
  for (const options of trials) {
    const bubblewrap = build(new Set(options));
    const trial = await trialOf(bubblewrap);
    if (trial.isFine) return bubblewrap;
    why ||= trial.text;
  }
  return { isInstalled: true, why: `bubblewrap does not work here: ${why}` };
}

function trialOf(bubblewrap: Bubblewrap): ReturnType<typeof output> {
  const mounts: readonly Mount[] = [
    { path: "/dev", as: "system" },
    { path: "/proc", as: "system" },
    { path: "/dev/shm", as: "private" },
    { path: "/tmp", as: "blank" },
  ];
  const [program = "", ...words] = sandboxArgs(bubblewrap, mounts, false);
  return output(program, [...words, "/bin/sh", "-c", ":"]);
}

/** What a program wrote, on one line, and whether it ended well. */
async function output(
  program: string,
  words: readonly string[],
): Promise<{ readonly isFine: boolean; readonly text: string }> {
  return await new Promise((resolve) => {
    const bounds = { timeout: TRIAL_MS, killSignal: "SIGKILL", env: {} } as const;
    execFile(program, words, bounds, (error, stdout, stderr) => {
      const text = `${stdout}${stderr}`.trim() || (error?.message ?? "");
      resolve({ isFine: error === null, text: text.replace(/\s+/g, " ") });
    });
  });
}
