import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { platform } from "node:os";
import { signalGroup, signalProcess } from "../../../base/host.ts";

/** All that a command started. */
export interface ProcessTree {
  /** The process that leads the command's group. */
  readonly leader: number;
  /** In the environment of each of its processes: finds those that left the group, too. */
  readonly mark: string;
  /** Its leader is a sandbox, which takes all that is in it along when it is ended. */
  readonly isSandboxed: boolean;
}

/** The variable that holds the mark. */
export const MARK = "COMMAND_ID";

/** Milliseconds between the asking and the killing. */
const TERM_MS = 2000;
/** Milliseconds in which the killed must be gone; a process that hangs in the kernel never is. */
const KILL_MS = 800;

/**
 * Ends what is left of a command: asks, waits two seconds, kills. Resolves when nothing is left, or
 * nothing more can be done; false where nothing was left to begin with.
 */
export async function endTree(tree: ProcessTree): Promise<boolean> {
  if (!(await isAnythingLeft(tree))) return false;
  if (platform() === "win32") return await endOnWindows(tree);
  await signalTree(tree, "SIGTERM");
  if (await isGoneWithin(TERM_MS, tree)) return true;
  const end = performance.now() + KILL_MS;
  // Again and again: what forks faster than the list is read is in the next one.
  do await signalTree(tree, "SIGKILL");
  while (!(await isGoneWithin(50, tree)) && performance.now() < end);
  return true;
}

async function isGoneWithin(milliseconds: number, tree: ProcessTree): Promise<boolean> {
  const end = performance.now() + milliseconds;
  for (let wait = 10; ; wait = Math.min(100, wait * 2)) {
    if (!(await isAnythingLeft(tree))) return true;
    const left = end - performance.now();
    if (left <= 0) return false;
    await new Promise((resolve) => setTimeout(resolve, Math.min(wait, left)));
  }
}

async function signalTree(tree: ProcessTree, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  // A sandbox that is asked to end would not wait for what is in it.
  const isSpared = tree.isSandboxed && signal === "SIGTERM";
  if (!isSpared) signalGroup(tree.leader, signal);
  for (const { pid, isSandbox } of (await processesOf(tree)) ?? []) {
    if ((!isSandbox || !isSpared) && isStillOf(tree, pid)) signalProcess(pid, signal);
  }
}

/** A process that ended since it was listed may have left its id to somebody else's: what forks much wears ids out. */
function isStillOf(tree: ProcessTree, pid: number): boolean {
  try {
    const environ = (): Buffer => readFileSync(`/proc/${pid}/environ`);
    return isOf(tree, readFileSync(`/proc/${pid}/stat`, "utf8"), environ) !== undefined;
  } catch {
    return false;
  }
}

async function isAnythingLeft(tree: ProcessTree): Promise<boolean> {
  const pids = await processesOf(tree);
  if (pids !== undefined) return pids.length > 0;
  return platform() === "win32" ? signalProcess(tree.leader, 0) : signalGroup(tree.leader, 0);
}

interface Member {
  readonly pid: number;
  /** It is not of the command, but around it. */
  readonly isSandbox: boolean;
}

/** The living processes of a tree; undefined where the system does not tell. */
async function processesOf(tree: ProcessTree): Promise<readonly Member[] | undefined> {
  if (platform() !== "linux") return undefined;
  const names = await readdir("/proc").catch(() => []);
  const pids = names.filter((name) => /^\d+$/.test(name));
  if (pids.length === 0) return undefined;
  const found = await Promise.all(pids.map((pid) => memberOf(tree, pid)));
  return found.filter((member) => member !== undefined);
}

async function memberOf(tree: ProcessTree, pid: string): Promise<Member | undefined> {
  try {
    const [stat, environ] = await Promise.all([
      readFile(`/proc/${pid}/stat`, "utf8"),
      readFile(`/proc/${pid}/environ`).catch(() => Buffer.alloc(0)),
    ]);
    const isSandbox = isOf(tree, stat, () => environ);
    return isSandbox === undefined ? undefined : { pid: Number(pid), isSandbox };
  } catch {
    // Gone in this moment, or another user's.
    return undefined;
  }
}

/** Whether a process is the sandbox of that tree (true) or one of its processes (false); undefined where it is neither. */
function isOf(
  { leader, mark, isSandboxed }: ProcessTree,
  stat: string,
  environ: () => Buffer,
): boolean | undefined {
  // After the name, which may hold anything: state, parent, group (proc_pid_stat(5)).
  const [state = "", , group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  // The dead wait for somebody to ask how they died, who may never do so.
  if (state === "Z" || state === "X") return undefined;
  if (Number(group) === leader) return isSandboxed;
  return environ().includes(`${MARK}=${mark}`) ? false : undefined;
}

async function endOnWindows({ leader }: ProcessTree): Promise<boolean> {
  await new Promise<void>((resolve) => {
    execFile("taskkill", ["/T", "/F", "/PID", String(leader)], () => resolve());
  });
  return true;
}
