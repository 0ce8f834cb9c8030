import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runs } from "../support/runs.ts";
import { readCorpus } from "./corpus.ts";
import { fuzz, minimised } from "./engine.ts";
import type { Target } from "./target.ts";
import { TARGETS } from "./targets.ts";

/** A short run, the same each time; `npm run fuzz -- --minutes 30` is the long one. */
const SEED = 20_260_701;
const RUNS = runs(400);
const MILLISECONDS = 500;

async function mustHold(target: Target, limits: { runs: number; milliseconds?: number }) {
  const corpus = await readCorpus(target.name);
  assert.ok(corpus.length > 0, "it has no corpus");
  const { broken, outcomes } = await fuzz(target, { seed: SEED, corpus, ...limits });
  if (broken !== undefined) {
    const { input, message } = await minimised(target, broken);
    const bytes = Buffer.from(input).toString("base64").slice(0, 2000);
    assert.fail(`${message.slice(0, 1000)}\nbroken by these bytes (base64): ${bytes}`);
  }
  return outcomes;
}

describe("what comes from outside, as it is kept and as it may come", () => {
  for (const target of TARGETS) {
    it(`${target.name}: ${target.about}`, async () => {
      const known = await mustHold(target, { runs: 0 });
      assert.ok(known.size > 1, "every input of the corpus comes to the same");
      await mustHold(target, { runs: RUNS, milliseconds: MILLISECONDS });
    });
  }
});
