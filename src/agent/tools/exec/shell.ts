import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { totalmem } from "node:os";
import { findProgram } from "./environment.ts";

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
