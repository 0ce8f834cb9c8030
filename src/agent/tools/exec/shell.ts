import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { totalmem } from "node:os";
import { findProgram } from "./environment.ts";

/** What runs commands. The guard reads them as bash does; of what `sh` reads otherwise it lets nothing pass. */
export interface Shell {
  readonly kind: "bash" | "sh";
  /** Absolute path. */
  readonly program: string;
}

/** bash along PATH, or the system's `sh` where there is none. */
export async function shellOf(env: Readonly<Record<string, string>>): Promise<Shell> {
  const program = await findProgram(env["PATH"] ?? "", "bash");
  return program === undefined ? { kind: "sh", program: "/bin/sh" } : { kind: "bash", program };
}

/** The words before a command. A start-up file would be read where the input is a socket (bash(1)). */
export function shellArgs({ kind, program }: Shell): readonly string[] {
  return kind === "bash" ? [program, "--norc", "-c"] : [program, "-c"];
}

let scriptArgs: Promise<readonly string[] | undefined> | undefined;

/**
 * The words that give a command a terminal, with util-linux's or BusyBox's `script`; undefined where
 * there is none of them. Looked for once.
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
      const words = `${stdout}${stderr}`;
      // Only util-linux's tells the command's own exit code.
      if (words.includes("util-linux")) resolve(["script", "-qefc"]);
      else resolve(/busybox/i.test(words) && error !== null ? ["script", "-qfc"] : undefined);
    });
  });
}

/** Bytes that one file of a command may have. */
const FILE_BYTES = 2 ** 30;
/** Processes that there may be of this program's user beyond those that there are. */
const PROCESSES = 256;
/** Files that one process may have open. */
const OPEN_FILES = 1024;
/** Of 1,000: when memory is short, a command ends sooner than the gateway. */
const OOM_SCORE_ADJ = 500;

/**
 * The words before a command with which it cannot take the machine: no core dumps, bounded files,
 * memory (half of the machine's for each process) and processes (the kernel does not count root's).
 * They also hold it to the folder that was looked at: it is the shell's own by then, so that what its
 * path comes to mean does not matter any more.
 */
export async function limitArgs(cwd: string): Promise<readonly string[]> {
  const kilobytes = Math.max(2 ** 16, Math.floor(totalmem() / 2 / 1024));
  const processes = await processCount();
  const bounds = [
    "ulimit -c 0",
    `ulimit -n ${OPEN_FILES}`,
    `ulimit -f ${FILE_BYTES / 512}`,
    `ulimit -d ${kilobytes}`,
    // The letter is bash's, then that of dash and BusyBox.
    ...(processes === undefined
      ? []
      : [`ulimit -u ${processes + PROCESSES} || ulimit -p ${processes + PROCESSES}`]),
    "umask g-w,o-w",
    `echo ${OOM_SCORE_ADJ} > /proc/self/oom_score_adj`,
  ];
  const script = [
    'cd -P . && [ "$PWD" = "$1" ] || { echo "the folder was replaced in this moment, nothing was run" >&2; exit 126; }',
    "unset OLDPWD",
    // What this program was given by its own starter; what it opens itself no command inherits.
    "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-",
    // What a system does not know it does not bound.
    `{ ${bounds.join("; ")}; } 2>/dev/null`,
    'shift; exec "$@"',
  ];
  return ["/bin/sh", "-c", script.join("\n"), "sh", cwd];
}

/** Processes and threads of all users (proc_loadavg(5)); undefined where the system does not tell. */
async function processCount(): Promise<number | undefined> {
  const text = await readFile("/proc/loadavg", "utf8").catch(() => "");
  const count = Number(/\/(\d+)/.exec(text)?.[1]);
  return Number.isFinite(count) ? count : undefined;
}
