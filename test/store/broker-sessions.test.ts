import assert from "node:assert/strict";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { openBrokerSessions } from "../../src/store/home/broker-sessions.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { temporaryFolder } from "../support/temporary.ts";

const SESSION = { clientId: "c", broker: "tcp://b", seenAt: 1000, expirySecs: 3600 };

it("notes of the brokers' sessions are kept by channel, and removed alone", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "broker-sessions.json");
  const notes = openBrokerSessions(file, SILENT);
  const [one, two] = [notes("one"), notes("two")];
  assert.equal(one.read(), undefined);
  one.write(SESSION);
  two.write({ ...SESSION, seenAt: 2000 });
  assert.deepEqual(openBrokerSessions(file, SILENT)("one").read(), SESSION);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal(one.dropped("tcp://b"), undefined);
  one.noteDropped("tcp://b", 7);
  one.noteDropped("tcp://c", 8);
  one.write({ ...SESSION, seenAt: 3000 });
  assert.deepEqual([one.dropped("tcp://b"), one.dropped("tcp://c")], [7, 8]);
  assert.equal(one.read()?.seenAt, 3000);
  one.write(undefined);
  assert.equal(one.read(), undefined);
  assert.equal(two.read()?.seenAt, 2000);
});

it("notes that cannot be read are none, and those that cannot be written are left out", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "broker-sessions.json");
  const log = createMemoryLog();
  const notes = openBrokerSessions(file, log)("one");
  for (const text of ["{", "[]", '{"one": 5}', '{"one": {"seen_at": "x", "expiry_secs": 1}}']) {
    await writeFile(file, text);
    assert.equal(notes.read(), undefined);
  }
  notes.write(SESSION);
  assert.deepEqual(notes.read(), SESSION);
  assert.match(await readFile(file, "utf8"), /"client_id": "c"/);
  await mkdir(`${file}.new`);
  notes.write({ ...SESSION, seenAt: 5 });
  assert.deepEqual(notes.read(), SESSION);
  assert.match(log.text(), /debug the broker's session could not be noted/);
});
