import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runClusterFaults } from "../test/faults/cluster-faults.ts";
import { KITS } from "../test/faults/kits.ts";
import { runRandomFaults } from "../test/faults/random-faults.ts";

/**
 * `npm run chaos -- --minutes 30 [--seed N] [--gateways 3]`: the fault harness for long, with what it found at the end;
 * with several gateways, that of a cluster.
 */
const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "2" },
    seed: { type: "string" },
    gateways: { type: "string", default: "1" },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const seconds = Number(values.minutes) * 60;
if (!(seconds > 0) || !Number.isSafeInteger(seed)) {
  throw new Error("usage: npm run chaos -- --minutes 30 [--seed 1] [--gateways 3]");
}
const build = join(import.meta.dirname, "build.ts");
spawnSync(process.execPath, [build, "--faults"], { stdio: "inherit" });
process.env["PICOCLAW_UNDER_TEST"] = "faults";

console.log(`seed ${seed}, ${values.minutes} minutes`);
const gateways = Number(values.gateways);
const log = (line: string): void => console.log(`${new Date().toTimeString().slice(0, 8)} ${line}`);
const { violations, requests, rejected, turns, faults } = await (gateways > 1
  ? runClusterFaults({ gateways, seed, seconds, kits: KITS, log })
  : runRandomFaults({ seed, seconds, kits: KITS, log }));
console.log(`${requests} requests, ${rejected} rejected, ${turns} turns`);
for (const [name, count] of Object.entries(faults)) console.log(`${count} × ${name}`);
for (const violation of violations) console.log(`BROKEN ${violation}`);
console.log(`${violations.length} promises broken (seed ${seed})`);
process.exitCode = violations.length === 0 ? 0 : 1;
