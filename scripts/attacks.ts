import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { attackFiles, readAttack } from "../test/agent/attack-run/attack.ts";
import { attacksTable } from "../test/agent/attack-run/table.ts";
import { mutate } from "./attacks/mutate.ts";

/**
 * Writes docs/attacks.md from what is in test/agent/attacks; a test says when that is due. With --mutate
 * each defence of scripts/attacks/defences.yaml is taken away in a copy, to see which tests notice it;
 * --only takes those whose name has a word.
 */
const { values } = parseArgs({
  options: { mutate: { type: "boolean", default: false }, only: { type: "string", default: "" } },
});
if (values.mutate) process.exitCode = (await mutate(values.only)) ? 0 : 1;
else {
  const attacks = await Promise.all((await attackFiles()).map((file) => readAttack(file)));
  await writeFile(join(import.meta.dirname, "../docs/attacks.md"), attacksTable(attacks));
}
