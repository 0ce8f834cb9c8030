import { readFile } from "node:fs/promises";
import { relative } from "node:path";
import { parseArgs } from "node:util";
import { keep, readCorpus, writeFailure } from "../test/fuzz/corpus.ts";
import { attempt, fuzz, minimised } from "../test/fuzz/engine.ts";
import type { Broken } from "../test/fuzz/engine.ts";
import type { Target } from "../test/fuzz/target.ts";
import { TARGETS } from "../test/fuzz/targets.ts";

/**
 * `npm run fuzz -- --minutes 30`: feeds everything that reads what comes from outside with inputs that
 * grow out of test/fuzz/corpus, in turns of half a minute. With --keep what had an outcome of its own
 * goes into the corpus. An input that breaks something is made smaller, written down, and ends the
 * target; `--only TARGET --replay FILE` runs it again.
 */
const USAGE = `usage: npm run fuzz -- [--minutes 2] [--seed N] [--only TARGET] [--keep] [--replay FILE]
targets: ${TARGETS.map(({ name }) => name).join(" ")}`;
const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "2" },
    seed: { type: "string" },
    only: { type: "string" },
    keep: { type: "boolean", default: false },
    replay: { type: "string" },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const milliseconds = Number(values.minutes) * 60_000;
const chosen = TARGETS.filter(({ name }) => name === (values.only ?? name));
if (!(milliseconds > 0) || !Number.isSafeInteger(seed) || chosen.length === 0) {
  throw new Error(USAGE);
}
/** The corpora with what this run has found. */
const grown = new Map<string, readonly Uint8Array[]>();
process.exitCode = (await (values.replay === undefined ? explore() : replay(values.replay)))
  ? 0
  : 1;

/** Whether nothing broke. */
async function explore(): Promise<boolean> {
  console.log(`seed ${seed}, ${values.minutes} minutes, ${chosen.length} targets`);
  const end = performance.now() + milliseconds;
  const turn = Math.min(30_000, milliseconds / chosen.length);
  const broken = new Set<string>();
  for (let round = 0; performance.now() < end && broken.size < chosen.length; round += 1) {
    for (const target of chosen.filter(({ name }) => !broken.has(name))) {
      if (performance.now() > end) break;
      if (!(await oneTurn(target, seed + round, turn))) broken.add(target.name);
    }
  }
  console.log(`${broken.size} targets broken (seed ${seed})`);
  return broken.size === 0;
}

async function oneTurn(target: Target, turnSeed: number, turn: number): Promise<boolean> {
  const corpus = grown.get(target.name) ?? (await readCorpus(target.name));
  const report = await fuzz(target, { seed: turnSeed, corpus, milliseconds: turn });
  grown.set(target.name, [...corpus, ...report.found]);
  if (values.keep) await keep(target.name, report.found);
  const { runs, found, outcomes } = report;
  console.log(
    `${new Date().toTimeString().slice(0, 8)} ${target.name}: ${runs} inputs, ${outcomes.size} outcomes, ${found.length} new`,
  );
  if (report.broken === undefined) return true;
  await print(target, await minimised(target, report.broken));
  return false;
}

async function print(target: Target, { input, message, stack }: Broken): Promise<void> {
  const file = relative(process.cwd(), await writeFailure(target.name, input));
  console.log(`BROKEN ${target.name}: ${target.about}`);
  console.log(`${message.slice(0, 2000)}\n${stack.split("\n").slice(1, 8).join("\n")}`);
  console.log(`${input.length} bytes in ${file}; again:`);
  console.log(`  npm run fuzz -- --only ${target.name} --replay ${file}`);
}

async function replay(file: string): Promise<boolean> {
  const [target] = chosen;
  if (target === undefined || chosen.length > 1) throw new Error(USAGE);
  const trial = await target.open();
  const result = await attempt(target, trial, await readFile(file));
  await trial.close?.();
  if (typeof result === "string") console.log(`it holds: ${result}`);
  else await print(target, result);
  return typeof result === "string";
}
