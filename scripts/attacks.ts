import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { attackFiles, readAttack } from "../test/agent/raid/attack.ts";
import { attacksTable } from "../test/agent/raid/table.ts";

// Writes docs/attacks.md from what is in test/agent/attacks; a test says when that is due.
const attacks = await Promise.all((await attackFiles()).map((file) => readAttack(file)));
await writeFile(join(import.meta.dirname, "../docs/attacks.md"), attacksTable(attacks));
