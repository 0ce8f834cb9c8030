import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { platform, totalmem } from "node:os";
import { isAbsolute, join } from "node:path";
import type { Mount } from "./mounts.ts";

/** bubblewrap as it is installed here, and works. */
export interface Bubblewrap {
  /** Absolute path of the program. */
  readonly program: string;
  /** Options that not every version has, and not every kernel lets it use. */
  readonly options: ReadonlySet<Option>;
}

/** Why there is none: it is not installed, or it does not work and says so. */
export interface NoBubblewrap {
  readonly isInstalled: boolean;
  readonly why: string;
}

type Option = (typeof OPTIONS)[number];

const OPTIONS = ["--disable-userns", "--perms", "--size"] as const;
/** Milliseconds in which it must have shown that it works. */
const TRIAL_MS = 5000;
/** Bytes of memory that each private folder of a cage may hold; of those that are blank, hardly any. */
const PRIVATE_BYTES = Math.max(16 * 2 ** 20, Math.floor(totalmem() / 16));
const BLANK_BYTES = 65_536;

const found = new Map<string, Promise<Bubblewrap | NoBubblewrap>>();

/** Looks for bubblewrap along a PATH and tries it, once in the life of the process. */
export function findBubblewrap(path: string): Promise<Bubblewrap | NoBubblewrap> {
  const known = found.get(path) ?? look(path);
  found.set(path, known);
  return known;
}

/** The words before a command that put it into a cage. */
export function cageWords(
  { program, options }: Bubblewrap,
  mounts: readonly Mount[],
  network: boolean,
): readonly string[] {
  const size = (bytes: number) => (options.has("--size") ? ["--size", String(bytes)] : []);
  const closed = options.has("--perms") ? ["--perms", "0555"] : [];
  const words = ({ path, as, from = path }: Mount): readonly string[] => {
    if (as === "system") return [path === "/dev" ? "--dev" : "--proc", path];
    if (as === "nothing") return ["--ro-bind", "/dev/null", path];
    if (as === "blank") return [...closed, ...size(BLANK_BYTES), "--tmpfs", path];
    if (as === "private") return [...size(PRIVATE_BYTES), "--tmpfs", path];
    return [as === "seen" ? "--ro-bind" : "--bind", from, path];
  };
  return [
    program,
    // A terminal's line cannot be typed into from inside (TIOCSTI), and nobody outlives the gateway.
    ..."--die-with-parent --new-session --cap-drop ALL".split(" "),
    ..."--unshare-user --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try".split(" "),
    ...(options.has("--disable-userns") ? ["--disable-userns"] : []),
    ...(network ? [] : ["--unshare-net"]),
    ..."--ro-bind / /".split(" "),
    ...mounts.flatMap(words),
    ..."--remount-ro /dev".split(" "),
  ];
}

async function look(path: string): Promise<Bubblewrap | NoBubblewrap> {
  if (platform() !== "linux") {
    return { isInstalled: false, why: "bubblewrap is there for Linux alone" };
  }
  const program = await programIn(path);
  if (program === undefined) return { isInstalled: false, why: "bubblewrap is not installed" };
  const help = await output(program, ["--help"]);
  const known = OPTIONS.filter((option) => help.text.includes(`${option} `));
  const fewer = known.filter((option) => option !== "--disable-userns");
  const trials = known.length === fewer.length ? [known] : [known, fewer];
  let why = "";
  for (const options of trials) {
    const bubblewrap = { program, options: new Set(options) };
    const trial = await tryOut(bubblewrap);
    if (trial.isFine) return bubblewrap;
    why ||= trial.text;
  }
  return { isInstalled: true, why: `bubblewrap does not work here: ${why}` };
}

async function programIn(path: string): Promise<string | undefined> {
  for (const folder of path.split(":").filter((name) => isAbsolute(name))) {
    const program = join(folder, "bwrap");
    const isThere = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return program;
  }
  return undefined;
}

function tryOut(bubblewrap: Bubblewrap): ReturnType<typeof output> {
  const mounts: readonly Mount[] = [
    { path: "/dev", as: "system" },
    { path: "/proc", as: "system" },
    { path: "/dev/shm", as: "private" },
    { path: "/tmp", as: "blank" },
  ];
  const [program = "", ...words] = cageWords(bubblewrap, mounts, false);
  return output(program, [...words, "--", "/bin/sh", "-c", ":"]);
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
