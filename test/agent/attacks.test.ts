import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { needsMosquitto } from "../support/mosquitto.ts";
import { withBubblewrap } from "../support/sandbox.ts";
import { openAttackRun } from "./attack-run/attack-run.ts";
import { attackFiles, numberOf, readAttack } from "./attack-run/attack.ts";
import { openSurroundings } from "./attack-run/surroundings.ts";
import type { Surroundings } from "./attack-run/surroundings.ts";
import { attacksTable } from "./attack-run/table.ts";

const files = await attackFiles();
const attacks = await Promise.all(files.map((file) => readAttack(file)));

const bubblewrap = await withBubblewrap();

describe("an agent whose model obeys whoever speaks", needsMosquitto, () => {
  let surroundings: Surroundings;
  before(async () => {
    surroundings = await openSurroundings();
  });
  after(() => surroundings[Symbol.asyncDispose]());

  it("is attacked in at least forty ways that something stops", () => {
    const stopped = attacks.filter((attack) => attack.stopped !== undefined);
    assert.ok(stopped.length >= 40, String(stopped.length));
    assert.equal(new Set(attacks.map(({ title }) => title)).size, attacks.length);
  });

  it("has its table of attacks in docs/attacks.md", async () => {
    const file = join(import.meta.dirname, "../../docs/attacks.md");
    assert.equal(await readFile(file, "utf8"), attacksTable(attacks), "bun scripts/attacks.ts");
  });

  for (const [index, file] of files.entries()) {
    const { title = "", needs } = attacks[index] ?? {};
    const skip = needs === undefined ? false : bubblewrap.skip;
    it(
      `${String(numberOf(file)).padStart(2, "0")} ${title}`,
      { timeout: 60_000, skip },
      async () => {
        await using run = await openAttackRun(file, surroundings);
        for (const step of run.attack.day) await run.live(step);
        await run.verify();
      },
    );
  }
});
