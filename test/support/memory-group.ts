import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";

/** A control group (cgroups(7), version 1 or 2) that bounds the memory of its processes. */
export interface MemoryGroup extends Disposable {
  /** A command that runs the words after it within the group. */
  readonly within: readonly string[];
  /** The most that its processes had together, in bytes. */
  peak(): number;
}

/** Returns undefined where this user may not make one. */
export function createMemoryGroup(bytes: number): MemoryGroup | undefined {
  const own = readFileSync("/proc/self/cgroup", "utf8");
  const first = /^\d+:memory:(.*)$/m.exec(own)?.[1];
  const parent =
    first === undefined
      ? `/sys/fs/cgroup${/^0::(.*)$/m.exec(own)?.[1]}`
      : `/sys/fs/cgroup/memory${first}`;
  const [limit, peak] =
    first === undefined
      ? (["memory.max", "memory.peak"] as const)
      : (["memory.limit_in_bytes", "memory.max_usage_in_bytes"] as const);
  const folder = `${parent}/picoclaw-${process.pid}-${(made += 1)}`;
  try {
    mkdirSync(folder);
    writeFileSync(`${folder}/${limit}`, `${bytes}`);
  } catch {
    return undefined;
  }
  return {
    within: ["sh", "-c", `echo $$ >${folder}/cgroup.procs && exec "$@"`, "sh"],
    peak: () => Number(readFileSync(`${folder}/${peak}`, "utf8")),
    [Symbol.dispose]: () => rmdirSync(folder),
  };
}

let made = 0;
