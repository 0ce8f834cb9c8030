import { spawnSync } from "node:child_process";
import { join } from "node:path";

/** Whole commands against a bare `node -e 1` in the same run: medians, and the ratio that counts. */
const RUNS = Number(process.argv[2] ?? 15);
const binary = join(import.meta.dirname, "../dist/picoclaw");
const reference = ["node", "-e", "1"] as const;
const commands = [
  [binary, "--version"],
  [binary, "help"],
  [binary, "try", "hello"],
  [binary, "try", "What", "is", "the", "CPU", "usage?"],
] as const;

for (const command of commands) {
  const times: number[] = [];
  const references: number[] = [];
  for (let index = 0; index <= RUNS; index += 1) {
    const [time, other] = [millisecondsOf(command), millisecondsOf(reference)];
    // The first pair only warms the caches.
    if (index === 0) continue;
    times.push(time);
    references.push(other);
  }
  const [ours, bare] = [median(times), median(references)];
  const name = command.slice(1).join(" ");
  console.log(
    `picoclaw ${name}: ${ours.toFixed(1)} ms, node -e 1: ${bare.toFixed(1)} ms, ratio ${(ours / bare).toFixed(2)}`,
  );
}

function millisecondsOf([program = "", ...args]: readonly string[]): number {
  const begun = performance.now();
  const { status } = spawnSync(program, args, { stdio: "ignore" });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${status}`);
  return performance.now() - begun;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
