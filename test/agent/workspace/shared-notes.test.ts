import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { FULL_ACCESS, ownerOf } from "../../../src/agent/access/permissions.ts";
import { createMemoryTool } from "../../../src/agent/tools/memory.ts";
import { clientMemoryFile } from "../../../src/agent/workspace/client-memory.ts";
import { fileNotes } from "../../../src/agent/workspace/notes.ts";
import {
  importNotes,
  SharedNotes,
  withSharedNotes,
} from "../../../src/agent/workspace/shared-notes.ts";
import { openWorkspace } from "../../../src/agent/workspace/workspace.ts";
import { Failure } from "../../../src/base/failure.ts";
import { SILENT } from "../../../src/base/log.ts";
import type { NoteStore } from "../../../src/store/contract/notes.ts";
import { callContext } from "../../support/agent-config.ts";
import { createNoteTable } from "../../support/note-table.ts";
import { runs } from "../../support/runs.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const NOW = new Date(2026, 6, 1, 9, 5);
const OWN = { ...FULL_ACCESS, memory: "own" } as const;
const OWNER = ownerOf({ client: "kitchen", channel: "mqtt", isRemote: true });

/** One gateway of those that share the table; its clock stands still until told. */
async function createGateway(table: NoteStore) {
  const { path: folder, ...disposable } = await temporaryFolder();
  let now = 0;
  const notes = new SharedNotes(table, () => now);
  const facts = { notes, now: () => NOW, log: SILENT };
  const workspace = withSharedNotes(openWorkspace({ folder, home: folder, ...facts }), facts);
  const tool = createMemoryTool({ workspace, now: () => NOW });
  return {
    ...disposable,
    folder,
    notes,
    workspace,
    pass: () => void (now += 2000),
    ask: (action: string, text = "", permissions: typeof FULL_ACCESS = OWN) =>
      tool.run({ action, text }, { ...callContext(), permissions, owner: OWNER }),
    own: () => workspace.own(OWNER),
  };
}

async function writeFiles(folder: string, files: Readonly<Record<string, string>>) {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
}

describe("notes that gateways share", () => {
  it("are known to each of them, and the files in their place are not read", async () => {
    const table = createNoteTable(() => NOW.getTime());
    await using one = await createGateway(table);
    await using two = await createGateway(table);
    await writeFiles(two.folder, { "memory/MEMORY.md": "- of the file", "SOUL.md": "kind" });
    assert.equal(await two.own(), "");
    assert.equal(await one.ask("remember", "likes tea"), "Remembered.");
    assert.equal(await one.ask("remember", "GPIO 4", FULL_ACCESS), "Remembered.");
    assert.equal(await one.ask("note", "watered", FULL_ACCESS), "Noted for 2026-07-01.");
    assert.equal(await one.own(), "# Memory\n- likes tea");
    two.pass();
    assert.equal(await two.own(), "# Memory\n- likes tea");
    const { memory, days, soul } = await two.workspace.read();
    assert.deepEqual([memory, soul], ["# Memory\n- GPIO 4", "kind"]);
    assert.deepEqual(days, [{ date: "2026-07-01", text: "# 2026-07-01\n- 09:05 watered" }]);
    assert.equal(await two.ask("forget", "tea"), "Forgotten:\n- likes tea");
    one.pass();
    assert.equal(await one.own(), "# Memory");
    assert.equal(await readFile(join(two.folder, "memory/MEMORY.md"), "utf8"), "- of the file");
  });

  it("lose no word of two gateways that write at the same time", async () => {
    const table = createNoteTable(() => 1);
    await using one = await createGateway(table);
    await using two = await createGateway(table);
    const texts = Array.from({ length: 12 }, (_, index) => `fact ${index}`);
    await Promise.all(
      texts.map((text, index) => (index % 2 ? one : two).ask("remember", text, FULL_ACCESS)),
    );
    one.pass();
    const { memory } = await one.workspace.read();
    assert.deepEqual(
      memory.split("\n").slice(1).toSorted(),
      texts.map((each) => `- ${each}`).toSorted(),
    );
  });

  it("have an entry once whose write ended in doubt", async () => {
    for (const isWritten of [false, true]) {
      const plain = createNoteTable(() => 1);
      let isBroken = true;
      const table: NoteStore = {
        ...plain,
        async writeNote(...note) {
          if (!isBroken) return plain.writeNote(...note);
          isBroken = false;
          if (isWritten) await plain.writeNote(...note);
          throw new Failure("unsure", "no answer");
        },
      };
      await using gateway = await createGateway(table);
      await gateway.ask("note", "watered", FULL_ACCESS);
      const note = await table.note("memory/202607/20260701.md");
      assert.equal(note?.text, "# 2026-07-01\n- 09:05 watered\n");
    }
  });

  it("are read from the store again only when they changed, and listed every two seconds at most", async () => {
    const plain = createNoteTable(() => 1);
    const calls: string[] = [];
    const table: NoteStore = {
      ...plain,
      notes: (prefix) => (calls.push("list"), plain.notes(prefix)),
      note: (name) => (calls.push(name), plain.note(name)),
    };
    await using gateway = await createGateway(table);
    await plain.writeNote("memory/MEMORY.md", "- a", 0);
    for (let turn = 0; turn < 3; turn += 1) {
      await gateway.workspace.read();
      await gateway.own();
    }
    assert.deepEqual(calls, ["list", "memory/MEMORY.md"]);
    gateway.pass();
    await gateway.workspace.read();
    assert.deepEqual(calls.slice(2), ["list"]);
  });
});

/** A machine with nothing but a MEMORY.md. */
function notesOf(content: string) {
  const notes = fileNotes("/nowhere");
  return { ...notes, names: async () => [], read: async () => content };
}

describe("the notes of a machine that joins a cluster", () => {
  it("are taken over once, beside what the others wrote, and stay in their files", async () => {
    const table = createNoteTable(() => 1);
    await using one = await createGateway(table);
    await using two = await createGateway(table);
    const client = clientMemoryFile(OWNER);
    const files = {
      "memory/MEMORY.md": "# Memory\n- a\n- b\n  goes on\n",
      [client]: "# Memory\n- tea\n",
      "memory/202606/20260630.md": "# 2026-06-30\n- 10:00 rain\n",
      "memory/202606/other.txt": "no note",
    };
    await writeFiles(one.folder, files);
    await writeFiles(two.folder, {
      "memory/MEMORY.md": "# Memory\n- b\n- c\n",
      [client]: "- tea\n",
    });
    assert.deepEqual(await importNotes(fileNotes(one.folder), one.notes, "one"), { files: 3 });
    two.pass();
    assert.deepEqual(await importNotes(fileNotes(two.folder), two.notes, "two"), { files: 2 });
    const textOf = async (name: string) => (await table.note(name))?.text;
    assert.equal(await textOf("memory/MEMORY.md"), "# Memory\n- a\n- b\n  goes on\n- b\n- c\n");
    assert.equal(await textOf(client), "# Memory\n- tea\n");
    assert.equal(await textOf("memory/202606/20260630.md"), files["memory/202606/20260630.md"]);
    await two.ask("forget", "c", FULL_ACCESS);
    assert.deepEqual(await importNotes(fileNotes(two.folder), two.notes, "two"), { files: 0 });
    assert.equal((await textOf("memory/MEMORY.md"))?.includes("- c"), false);
    assert.equal(
      await readFile(join(one.folder, "memory/MEMORY.md"), "utf8"),
      files["memory/MEMORY.md"],
    );
  });

  it("lose no row, whatever is in the files of two machines, and a second import adds none", async () => {
    const row = fc.constantFrom(
      "# Memory",
      "- a",
      "- b",
      "- b\n  deeper",
      "- b\n\t- tab",
      "",
      "plain",
    );
    const text = fc.array(row, { maxLength: 8 }).map((rows) => rows.join("\n"));
    await fc.assert(
      fc.asyncProperty(text, text, async (first, second) => {
        const table = createNoteTable(() => 1);
        const notes = new SharedNotes(table);
        for (const [mark, content] of [first, second, first, second].entries())
          await importNotes(notesOf(content), new SharedNotes(table), String(mark));
        const after = (await notes.read("memory/MEMORY.md")).split("\n");
        for (const each of `${first}\n${second}`.split("\n"))
          assert.ok(each.trim() === "" || after.includes(each), `${JSON.stringify(each)} is lost`);
        const rows = first.split("\n").length + second.split("\n").length + 2;
        assert.ok(after.length <= rows, "an entry is there twice");
      }),
      { numRuns: runs(200) },
    );
  });
});
