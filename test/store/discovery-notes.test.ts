import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { openDiscoveryNotes } from "../../src/store/home/discovery-notes.ts";
import { temporaryFolder } from "../support/temporary.ts";

it("the topic of a device in Home Assistant is noted by channel, and removed alone", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "home-assistant.json");
  const notes = openDiscoveryNotes(file, SILENT);
  const [one, two] = [notes("one"), notes("two")];
  one.write(undefined);
  assert.equal(one.read(), undefined);
  await assert.rejects(stat(file), { code: "ENOENT" });
  one.write("a");
  two.write("b");
  assert.deepEqual(JSON.parse(await readFile(file, "utf8")), { one: "a", two: "b" });
  assert.equal(openDiscoveryNotes(file, SILENT)("one").read(), "a");
  one.write(undefined);
  assert.deepEqual([one.read(), two.read()], [undefined, "b"]);
  await writeFile(file, '{"two": 5}');
  assert.equal(two.read(), undefined);
});
