import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { platform } from "node:os";
import { signalGroup, signalProcess } from "../../../base/host.ts";

/** A command and all processes that it started. */
export interface ProcessTree {
  /** The process that leads the command's group. */
  readonly leader: number;
  /** Stands in the environment of each of its processes, and finds those that left the group. */
  readonly mark: string;
  /** The leader is a sandbox; when it ends, all processes in it end. */
  readonly isSandboxed: boolean;
}

/** The variable that holds the mark. */
export const MARK = "COMMAND_ID";

/** Milliseconds between SIGTERM and SIGKILL. */
const TERM_MS = 2000;
/** Milliseconds in which killed processes must be gone; one that hangs in the kernel never is. */
const KILL_MS = 800;

/**
 * Ends what is left of a command: SIGTERM, two seconds, SIGKILL. Resolves when nothing is left or
 * nothing more can be done, with false if nothing was left at the start.
 */
export async function endTree(tree: ProcessTree): Promise<boolean> {
  if (!(await isAnythingLeft(tree))) return false;
  if (platform() === "win32") return await endOnWindows(tree);
  await signalTree(tree, "SIGTERM");
  if (await isGoneWithin(TERM_MS, tree)) return true;
  const end = performance.now() + KILL_MS;
  // Repeated: a process that forks while the list is read is in the next list.
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
  // A sandbox that gets SIGTERM would not wait for the processes in it.
  const isSpared = tree.isSandboxed && signal === "SIGTERM";
  if (!isSpared) signalGroup(tree.leader, signal);
  for (const { pid, isSandbox } of (await processesOf(tree)) ?? []) {
    if ((!isSandbox || !isSpared) && isStillOf(tree, pid)) signalProcess(pid, signal);
  }
}

/** A process that ended since it was listed may have left its id to a process of somebody else. */
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
  /** It is the sandbox around the command. */
  readonly isSandbox: boolean;
}

/** The living processes of a tree; undefined on systems without /proc. */
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
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    const environ = hasNoEnvironment(stat) ? "" : await environOf(pid).catch(() => "");
    const isSandbox = isOf(tree, stat, () => environ);
    return isSandbox === undefined ? undefined : { pid: Number(pid), isSandbox };
  } catch {
    // It just ended, or belongs to another user.
    return undefined;
  }
}

/** Milliseconds in which one program has replaced another. */
const EXEC_MS = 500;

/** While one program replaces another (exec), the kernel shows an empty environment for a moment. */
async function environOf(pid: string): Promise<Buffer> {
  const end = performance.now() + EXEC_MS;
  for (;;) {
    const environ = await readFile(`/proc/${pid}/environ`);
    if (environ.length > 0 || performance.now() > end) return environ;
    if (hasNoEnvironment(await readFile(`/proc/${pid}/stat`, "utf8"))) return environ;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** The flag of threads of the kernel (PF_KTHREAD). */
const KERNEL_THREAD = 0x20_00_00;

/** Whether a process is dead, a thread of the kernel, or was started with an empty environment. */
function hasNoEnvironment(stat: string): boolean {
  const fields = fieldsOf(stat);
  if (isDead(fields) || (Number(fields[6]) & KERNEL_THREAD) !== 0) return true;
  // Where the environment begins and ends in memory; 0 until the new program is there.
  const [start, end] = [fields[47], fields[48]];
  return start === end && end !== "0";
}

/** Whether a process is the sandbox of a tree (true) or one of its processes (false); undefined if it is neither. */
function isOf(
  { leader, mark, isSandboxed }: ProcessTree,
  stat: string,
  environ: () => Buffer | string,
): boolean | undefined {
  const fields = fieldsOf(stat);
  if (isDead(fields)) return undefined;
  if (Number(fields[2]) === leader) return isSandboxed;
  return environ().includes(`${MARK}=${mark}`) ? false : undefined;
}

/** State, parent, group and so on: the fields after the name, which may hold any character (proc_pid_stat(5)). */
function fieldsOf(stat: string): readonly string[] {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** A zombie is dead; its parent may never read its exit status. */
function isDead([state = ""]: readonly string[]): boolean {
  return state === "Z" || state === "X";
}

async function endOnWindows({ leader }: ProcessTree): Promise<boolean> {
  await new Promise<void>((resolve) => {
    execFile("taskkill", ["/T", "/F", "/PID", String(leader)], () => resolve());
  });
  return true;
}
