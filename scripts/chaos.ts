import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runRandomFaults } from "../test/faults/random-faults.ts";

/** `npm run chaos -- --minutes 30 [--seed N]`: the fault harness for long, with what it found at the end. */
const { values } = parseArgs({
  options: { minutes: { type: "string", default: "2" }, seed: { type: "string" } },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const seconds = Number(values.minutes) * 60;
if (!(seconds > 0) || !Number.isSafeInteger(seed)) {
  throw new Error("usage: npm run chaos -- --minutes 30 [--seed 1]");
}
const build = join(import.meta.dirname, "build.ts");
spawnSync(process.execPath, [build, "--faults"], { stdio: "inherit" });
process.env["PICOCLAW_UNDER_TEST"] = "faults";

console.log(`seed ${seed}, ${values.minutes} minutes`);
const { violations, requests, rejected, turns, faults } = await runRandomFaults({
  seed,
  seconds,
  log: (line) => console.log(`${new Date().toTimeString().slice(0, 8)} ${line}`),
});
console.log(`${requests} requests, ${rejected} rejected, ${turns} turns`);
for (const [name, count] of Object.entries(faults)) console.log(`${count} × ${name}`);
for (const violation of violations) console.log(`BROKEN ${violation}`);
console.log(`${violations.length} promises broken (seed ${seed})`);
process.exitCode = violations.length === 0 ? 0 : 1;
