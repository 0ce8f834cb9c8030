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
  /** When the leader started, in clock ticks of the kernel; no process of the tree is older. */
  readonly since: number;
  /** The processes that were found, each as its id and its start. */
  readonly found: Set<string>;
}

/** The tree of a leader that was started just now. */
export function treeOf(tree: Pick<ProcessTree, "leader" | "mark" | "isSandboxed">): ProcessTree {
  return { ...tree, since: startOf(tree.leader) ?? 0, found: new Set() };
}

/** When a living process started; undefined for any other, and on systems without /proc. */
function startOf(pid: number): number | undefined {
  try {
    return startTimeOf(fieldsOf(readFileSync(`/proc/${pid}/stat`, "utf8")));
  } catch {
    return undefined;
  }
}

/** The variable that holds the mark. */
export const MARK = "COMMAND_ID";

/** Milliseconds between SIGTERM and SIGKILL. */
const TERM_MS = 2000;
/** Milliseconds in which killed processes must be gone; one that hangs in the kernel never is. */
const KILL_MS = 800;
/** How often they are signalled at least; on a machine with much to do, one look takes long. */
const KILL_ROUNDS = 5;

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
  for (let round = 0; round < KILL_ROUNDS || performance.now() < end; round += 1) {
    await signalTree(tree, "SIGKILL");
    if (await isGoneWithin(50, tree)) break;
  }
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
  for (const member of (await processesOf(tree)) ?? []) {
    if ((!member.isSandbox || !isSpared) && isStill(member)) signalProcess(member.pid, signal);
  }
}

/** A process that ended since it was listed may have left its id to a process of somebody else. */
function isStill({ pid, startTime }: Member): boolean {
  return startOf(pid) === startTime;
}

async function isAnythingLeft(tree: ProcessTree): Promise<boolean> {
  const pids = await processesOf(tree);
  if (pids !== undefined) return pids.length > 0;
  return platform() === "win32" ? signalProcess(tree.leader, 0) : signalGroup(tree.leader, 0);
}

interface Member {
  readonly pid: number;
  /** In clock ticks of the kernel; it stays when one program replaces another. */
  readonly startTime: number;
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
    const fields = await statOf(pid);
    const startTime = startTimeOf(fields);
    if (isDead(fields) || startTime < tree.since) return undefined;
    const member = { pid: Number(pid), startTime, isSandbox: false };
    if (Number(fields[2]) === tree.leader) return { ...member, isSandbox: tree.isSandboxed };
    const identity = `${pid} ${startTime}`;
    if (!tree.found.has(identity)) {
      if (!(await environOf(pid, fields)).includes(`${MARK}=${tree.mark}`)) return undefined;
      tree.found.add(identity);
    }
    return member;
  } catch {
    // It just ended, or belongs to another user.
    return undefined;
  }
}

async function statOf(pid: string): Promise<readonly string[]> {
  return fieldsOf(await readFile(`/proc/${pid}/stat`, "utf8"));
}

/** Milliseconds in which one program has replaced another, on a machine with much to do. */
const EXEC_MS = 2000;

/**
 * While one program replaces another (exec), the kernel shows an empty environment, or only the
 * part of the old one that was read before.
 */
async function environOf(pid: string, stat: readonly string[]): Promise<Buffer | ""> {
  const end = performance.now() + EXEC_MS;
  for (let fields = stat; !hasNoEnvironment(fields); fields = await statOf(pid)) {
    const environ = await readFile(`/proc/${pid}/environ`);
    const isWhole = environ.length > 0 && environ.length === environSize(fields);
    if (isWhole || performance.now() > end) return environ;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return "";
}

/** The flag of threads of the kernel (PF_KTHREAD). */
const KERNEL_THREAD = 0x20_00_00;

/** Whether a process is dead, a thread of the kernel, or was started with an empty environment. */
function hasNoEnvironment(fields: readonly string[]): boolean {
  if (isDead(fields) || (Number(fields[6]) & KERNEL_THREAD) !== 0) return true;
  // A process that runs (R) or waits for its memory (D) may be getting its environment just now.
  return environSize(fields) === 0 && fields[48] !== "0" && !/^[RD]/.test(fields[0] ?? "");
}

/** Bytes of the environment; 0 until a new program is in memory. */
function environSize(fields: readonly string[]): number {
  return Number(fields[48]) - Number(fields[47]);
}

function startTimeOf(fields: readonly string[]): number {
  return Number(fields[19]);
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
