import { readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { acceptedFigures } from "./bench/accepted.ts";
import { buildReference, goPicoclaw, picoclaw } from "./bench/contender.ts";
import type { Contender } from "./bench/contender.ts";
import { crowdFigures } from "./bench/crowd.ts";
import { lineOf, plotOf, tableOf } from "./bench/figure.ts";
import type { Figure } from "./bench/figure.ts";
import { fleetFigures } from "./bench/fleet.ts";
import { hopFigures } from "./bench/hop.ts";
import { lampFigures } from "./bench/lamp.ts";
import { memoryFigures } from "./bench/memory.ts";
import { sizeFigures } from "./bench/size.ts";
import { soakFigures } from "./bench/soak.ts";
import { startFigures } from "./bench/start.ts";
import { waitingFigures } from "./bench/waiting.ts";
import { watchFigures } from "./bench/watch.ts";

/**
 * `npm run bench [-- --runs N] [--only GROUP] [--soak MINUTES] [--write]`: what the compiled program costs, each figure
 * next to a reference that is measured in turn with it. `--write` puts the table and the plot into docs, with the load
 * of the machine: what other work does to the figures.
 */
const GROUPS = {
  start: (runs: number) => startFigures(contenders, runs),
  hop: (runs: number) => hopFigures(contenders, runs),
  accepted: (runs: number) => acceptedFigures(runs),
  crowd: (runs: number) => crowdFigures(runs),
  waiting: () => waitingFigures(),
  memory: () => memoryFigures(contenders, [2000, 24_000]),
  size: () => sizeFigures(),
  lamp: (runs: number) => lampFigures(Math.ceil(runs / 2)),
  fleet: (runs: number) => fleetFigures(Math.ceil(runs / 2)),
  watch: () => watchFigures(),
  soak: () => soakFigures(Number(values.soak)),
};

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "10" },
    only: { type: "string" },
    soak: { type: "string", default: "0" },
    write: { type: "boolean", default: false },
  },
});
const contenders: Contender[] = [picoclaw, buildReference(), goPicoclaw].filter(
  (each) => each !== undefined,
);
const figures: Figure[] = [];
const [loadBefore = 0] = loadavg();
for (const [name, measure] of Object.entries(GROUPS)) {
  if (values.only !== undefined ? values.only !== name : name === "soak" && values.soak === "0")
    continue;
  for await (const figure of measure(Number(values.runs))) {
    figures.push(figure);
    console.log(lineOf(figure));
  }
}
if (values.write) write(figures);

function write(measured: readonly Figure[]): void {
  const docs = join(import.meta.dirname, "../docs");
  const page = join(docs, "performance.md");
  const [model = "unknown"] = cpus().map((cpu) => cpu.model);
  const [loadAfter = 0] = loadavg();
  const load = [loadBefore, loadAfter].map((value) => value.toFixed(1)).join(" before, ");
  const machine = `${cpus().length} × ${model}, Linux ${release()}, ${process.arch}, Bun ${process.versions.bun}; load average ${load} after`;
  const text = readFileSync(page, "utf8");
  const [before] = text.split("<!-- measured -->");
  const now = `<!-- measured -->\n\nMeasured on ${machine}.\n\n${tableOf(measured)}\n`;
  writeFileSync(page, `${before}${now}`);
  writeFileSync(join(docs, "performance.svg"), plotOf(measured));
}
