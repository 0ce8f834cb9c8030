import { execFile } from "node:child_process";
import { access, constants, readFile } from "node:fs/promises";
import { platform, totalmem } from "node:os";
import { isAbsolute, join } from "node:path";
import { isInside } from "../../../base/path-contains.ts";

/** The variables that commands get from this program's environment: how to run, no key and no setting. */
const ALLOWED_VARIABLES = [
  ..."PATH HOME USER LOGNAME SHELL TMPDIR TZ".split(" "),
  ..."LANG LANGUAGE LC_ALL LC_COLLATE LC_CTYPE LC_MESSAGES LC_MONETARY LC_NUMERIC LC_TIME".split(
    " ",
  ),
  // Without these no program starts on Windows.
  ..."SystemRoot ComSpec PATHEXT TEMP TMP USERPROFILE".split(" "),
];

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * The environment of commands: a few variables of this program, and a terminal without capabilities.
 * PATH has no folder of the workspace, where a command could have put its own `ls`.
 */
export function commandEnvironment(
  variable: (name: string) => string | undefined,
  workspace: string,
): Readonly<Record<string, string>> {
  const all = ALLOWED_VARIABLES.map((name) => [name, variable(name)] as const);
  const set = all.filter((pair): pair is readonly [string, string] => pair[1] !== undefined);
  const { PATH = DEFAULT_PATH, ...others } = Object.fromEntries(set);
  return { ...others, PATH: trustedPath(PATH, workspace) || DEFAULT_PATH, TERM: "dumb" };
}

function trustedPath(path: string, workspace: string): string {
  // On Windows a colon is a part of the drive.
  if (platform() === "win32") return path;
  const folders = path.split(":");
  return folders.filter((folder) => isAbsolute(folder) && !isInside(folder, workspace)).join(":");
}

/** The absolute path of a program in the folders of PATH; undefined if none has it. */
export async function findProgram(path: string, name: string): Promise<string | undefined> {
  for (const folder of path.split(":").filter((one) => isAbsolute(one))) {
    const program = join(folder, name);
    const isThere = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return program;
  }
  return undefined;
}

/** The program that runs commands. The policy parses them as bash does. */
export interface Shell {
  readonly kind: "bash" | "sh";
  /** Absolute path. */
  readonly program: string;
}

/** bash in PATH, or the system's `sh` without it. */
export async function findShell(env: Readonly<Record<string, string>>): Promise<Shell> {
  const program = await findProgram(env["PATH"] ?? "", "bash");
  return program === undefined ? { kind: "sh", program: "/bin/sh" } : { kind: "bash", program };
}

/** The arguments before a command. bash reads a start-up file if its input is a socket (bash(1)). */
export function shellArgs({ kind, program }: Shell): readonly string[] {
  return kind === "bash" ? [program, "--norc", "-c"] : [program, "-c"];
}

let scriptArgs: Promise<readonly string[] | undefined> | undefined;

/**
 * The arguments that give a command a terminal, with `script` of util-linux or BusyBox; undefined
 * without it. Searched for once.
 */
export function terminalArgs(
  env: Readonly<Record<string, string>>,
): Promise<readonly string[] | undefined> {
  scriptArgs ??= findScript(env);
  return scriptArgs;
}

async function findScript(
  env: Readonly<Record<string, string>>,
): Promise<readonly string[] | undefined> {
  return await new Promise((resolve) => {
    execFile("script", ["--version"], { env, timeout: 5000 }, (error, stdout, stderr) => {
      const text = `${stdout}${stderr}`;
      // Only util-linux returns the command's own exit code.
      if (text.includes("util-linux")) resolve(["script", "-qefc"]);
      else resolve(/busybox/i.test(text) && error !== null ? ["script", "-qfc"] : undefined);
    });
  });
}

/** Bytes of one file. */
const FILE_BYTES = 2 ** 30;
/** Processes of this program's user beyond those that exist now. */
const PROCESSES = 256;
/** Open files of one process. */
const OPEN_FILES = 1024;
/** Of 1,000: when memory is short, the kernel ends a command before the gateway. */
const OOM_SCORE_ADJ = 500;

/**
 * The arguments that limit a command: no core dumps, bounded files, memory (half of the machine's for
 * each process) and processes (the kernel does not count root's). They also check that the working
 * folder is still the one that was resolved. A later change of its path has no effect on the shell.
 */
export async function limitArgs(cwd: string): Promise<readonly string[]> {
  const kilobytes = Math.max(2 ** 16, Math.floor(totalmem() / 2 / 1024));
  const processes = await processCount();
  const bounds = [
    "ulimit -c 0",
    `ulimit -n ${OPEN_FILES}`,
    `ulimit -f ${FILE_BYTES / 512}`,
    `ulimit -d ${kilobytes}`,
    // bash has -u, dash and BusyBox have -p.
    ...(processes === undefined
      ? []
      : [`ulimit -u ${processes + PROCESSES} || ulimit -p ${processes + PROCESSES}`]),
    "umask g-w,o-w",
    `echo ${OOM_SCORE_ADJ} > /proc/self/oom_score_adj`,
  ];
  const script = [
    'cd -P . && [ "$PWD" = "$1" ] || { echo "the folder was replaced just now; nothing was run" >&2; exit 126; }',
    "unset OLDPWD",
    // Descriptors that this program inherited. Those that it opens itself are not inherited.
    "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-",
    // A system without one of the limits ignores it.
    `{ ${bounds.join("; ")}; } 2>/dev/null`,
    'shift; exec "$@"',
  ];
  return ["/bin/sh", "-c", script.join("\n"), "sh", cwd];
}

/** Processes and threads of all users (proc_loadavg(5)); undefined on other systems than Linux. */
async function processCount(): Promise<number | undefined> {
  const text = await readFile("/proc/loadavg", "utf8").catch(() => "");
  const count = Number(/\/(\d+)/.exec(text)?.[1]);
  return Number.isFinite(count) ? count : undefined;
}
