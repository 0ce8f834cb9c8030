import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { clientIdConflictsIn, noteConflict } from "../../src/store/home/client-id-conflicts.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { temporaryFolder } from "../support/temporary.ts";

it("conflicts of client ids are counted by channel, for all gateways of the folder", async () => {
  await using folder = await temporaryFolder();
  assert.deepEqual(clientIdConflictsIn(join(folder.path, "none")), []);
  const [first, second] = [
    join(folder.path, "client-id-conflicts.json"),
    join(folder.path, "client-id-conflicts-2.json"),
  ];
  for (const channel of ["mqtt", "mqtt", "other"]) noteConflict(first, channel, SILENT);
  noteConflict(second, "mqtt", SILENT);
  const found = clientIdConflictsIn(folder.path);
  assert.deepEqual(found.map(({ channel, times }) => `${channel} ${times}`).toSorted(), [
    "mqtt 1",
    "mqtt 2",
    "other 1",
  ]);
  assert.ok(found.every(({ lastAt }) => Math.abs(Date.now() - lastAt) < 60_000));
});

it("a broken file of conflicts is no conflict, and one that cannot be written no failure", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "client-id-conflicts.json");
  for (const text of ["{", "[]", '{"mqtt": 7}', '{"mqtt": {"last_at": "x", "times": 1}}']) {
    await writeFile(file, text);
    assert.deepEqual(clientIdConflictsIn(folder.path), [], text);
  }
  await mkdir(join(folder.path, "folder.json"));
  const log = createMemoryLog();
  const { lines } = log;
  noteConflict(join(folder.path, "folder.json"), "mqtt", log);
  assert.equal(lines.length, 1);
});
