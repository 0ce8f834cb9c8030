import * as fc from "fast-check";

/** Loaded before the tests of `npm test`: properties try the same cases in each run, unless PICOCLAW_SEED says others. */
fc.configureGlobal({ seed: Number(process.env["PICOCLAW_SEED"] ?? 1) });
