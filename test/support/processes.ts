import { readdir, readFile } from "node:fs/promises";

/** How many processes of the whole machine run with exactly these words. */
export async function running(words: string): Promise<number> {
  return (await processesRunning(words)).length;
}

/** The processes of the whole machine that run with exactly these words. */
export async function processesRunning(words: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")),
  );
  return pids
    .filter((_, index) => lines[index]?.replaceAll("\0", " ").trim() === words)
    .map(Number);
}
