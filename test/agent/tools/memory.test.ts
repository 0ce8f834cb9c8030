import assert from "node:assert/strict";
import { chmod, chown, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { createMemoryTool } from "../../../src/agent/tools/memory.ts";
import { callContext } from "../../support/agent-config.ts";
import { codePoint } from "../../support/code-point.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const NOW = new Date(2026, 6, 1, 9, 5, 44);

async function createMemory(files: Readonly<Record<string, string>> = {}) {
  const home = await temporaryFolder();
  const folder = join(home.path, "workspace");
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  const tool = createMemoryTool({ workspace: { folder }, now: () => NOW });
  return {
    home: home.path,
    folder,
    tool,
    ask: (action: string, facts: object = {}) => tool.run({ action, ...facts }, callContext()),
    text: (path = "memory/MEMORY.md") => readFile(join(folder, path), "utf8"),
    [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
  };
}

describe("the memory tool", () => {
  it("remembers facts once, for this user alone", async () => {
    await using memory = await createMemory();
    assert.equal(await memory.ask("remember", { text: "the pump is on\n GPIO 4" }), "Remembered.");
    assert.match(await memory.ask("remember", { text: "- The pump is on GPIO 4 " }), /already/);
    assert.equal(await memory.ask("remember", { text: "Ada is home late" }), "Remembered.");
    assert.equal(await memory.text(), "# Memory\n- the pump is on GPIO 4\n- Ada is home late\n");
    assert.equal((await stat(join(memory.folder, "memory/MEMORY.md"))).mode & 0o777, 0o600);
    assert.equal((await stat(join(memory.folder, "memory"))).mode & 0o777, 0o700);
    assert.deepEqual(await readdir(join(memory.folder, "memory")), ["MEMORY.md"]);
  });

  it("writes notes of the day with the time", async () => {
    await using memory = await createMemory({ "memory/202607/20260701.md": "by hand" });
    assert.equal(await memory.ask("note", { text: "watered" }), "Noted for 2026-07-01.");
    assert.equal(await memory.text("memory/202607/20260701.md"), "by hand\n- 09:05 watered\n");
  });

  it("reads the memory and the requested days, and lists the days with notes", async () => {
    await using memory = await createMemory({
      "memory/202606/20260630.md": "- 10:00 dry\n",
      "memory/202607/20260701.md": "- 09:00 wet\n",
    });
    assert.equal(await memory.ask("read"), "The memory is empty.");
    assert.equal(
      await memory.ask("read", { days: ["2026-06-30", "2026-01-01"] }),
      "The memory is empty.\n\nNotes of 2026-06-30:\n- 10:00 dry\n\nThere are no notes of 2026-01-01.\n\nDays with notes: 2026-07-01, 2026-06-30.",
    );
    assert.match(
      await memory.ask("read", { days: ["../../etc"] }),
      /^error: wrong arguments: days/,
    );
  });

  it("forgets the entries that contain a text, and nothing else", async () => {
    await using memory = await createMemory({
      "memory/MEMORY.md":
        "# Memory\nThe pump is old.\n- the pump is on GPIO 4\n  since May\n\n* Pump: 2 l\n- Ada\n  likes tea\n",
    });
    assert.equal(
      await memory.ask("forget", { text: "PUMP" }),
      "Forgotten:\n- the pump is on GPIO 4\n- Pump: 2 l",
    );
    assert.equal(await memory.text(), "# Memory\nThe pump is old.\n\n- Ada\n  likes tea\n");
    assert.match(await memory.ask("forget", { text: "pump" }), /^error: no entry/);
    assert.match(await memory.ask("forget", { text: " \n" }), /^error: forget needs a text/);
  });

  it("shows its entries when it is full, and does not change", async () => {
    const full = `# Memory\n- begin\n${`- ${"é".repeat(1000)}\n`.repeat(16)}`;
    await using memory = await createMemory({ "memory/MEMORY.md": full });
    const answer = await memory.ask("remember", { text: "x".repeat(1_000) });
    assert.match(answer, /^error: the memory is full \(32065 of 32768 bytes are used\)/);
    assert.ok(answer.includes("- begin"));
    assert.equal(await memory.text(), full);
    assert.match(await memory.ask("remember", { text: "x".repeat(2_001) }), /^error: the text has/);
  });

  it("loses nothing when several write at once", async () => {
    await using memory = await createMemory();
    const other = createMemoryTool({ workspace: memory, now: () => NOW });
    const texts = Array.from({ length: 20 }, (_, index) => `fact ${index}`);
    await Promise.all(
      texts.map((text, index) =>
        (index % 2 === 0 ? memory.tool : other).run({ action: "remember", text }, callContext()),
      ),
    );
    const kept = (await memory.text()).split("\n").slice(1, -1);
    assert.deepEqual(kept.toSorted(), texts.map((text) => `- ${text}`).toSorted());
  });

  it("follows no link out of the workspace, and one inside of it", async () => {
    await using memory = await createMemory({ "notes/real.md": "- old\n" });
    await writeFile(join(memory.home, "outside.md"), "mine\n");
    await mkdir(join(memory.folder, "memory"));
    await symlink("../../outside.md", join(memory.folder, "memory/MEMORY.md"));
    await symlink(memory.home, join(memory.folder, "memory/202607"));
    for (const action of ["remember", "note"]) {
      await assert.rejects(memory.ask(action, { text: "x" }), /leaves/);
    }
    assert.equal(await readFile(join(memory.home, "outside.md"), "utf8"), "mine\n");

    await using inside = await createMemory({ "notes/real.md": "- old\n" });
    await mkdir(join(inside.folder, "memory"));
    await symlink("../notes/real.md", join(inside.folder, "memory/MEMORY.md"));
    await inside.ask("remember", { text: "new" });
    assert.equal(await inside.text("notes/real.md"), "- old\n- new\n");
  });

  it("leaves a file to who wrote it by hand", { skip: process.getuid?.() !== 0 }, async () => {
    await using memory = await createMemory({ "memory/MEMORY.md": "- old\n" });
    const file = join(memory.folder, "memory/MEMORY.md");
    await chown(file, 1234, 2345);
    await chmod(file, 0o664);
    await memory.ask("remember", { text: "new" });
    const { uid, gid, mode } = await stat(file);
    assert.deepEqual([uid, gid, mode & 0o777], [1234, 2345, 0o664]);
    assert.equal(await memory.text(), "- old\n- new\n");
  });

  it("does not write back what it could not read", async () => {
    await using memory = await createMemory({ "memory/x": "" });
    await writeFile(join(memory.folder, "memory/MEMORY.md"), new Uint8Array([45, 32, 255, 10]));
    await assert.rejects(memory.ask("forget", { text: "a" }), /not UTF-8/);
    await writeFile(join(memory.folder, "memory/MEMORY.md"), "- a\n".repeat(300_000));
    await assert.rejects(memory.ask("forget", { text: "a" }), /more than 1048576 bytes/);
  });

  it("stores every entry on one line without control characters", async () => {
    const text = fc.string({ unit: codePoint, minLength: 1, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(
        text,
        fc.constantFrom("", "\n- ", "\r\n# ", "\u2028", "\u0000"),
        async (words, hostile) => {
          await using memory = await createMemory();
          const answer = await memory.ask("remember", { text: `${words}${hostile}x` });
          assert.equal(answer, "Remembered.");
          const [title, entry, end, ...rest] = (await memory.text()).split("\n");
          assert.deepEqual([title, end, rest], ["# Memory", "", []]);
          assert.match(entry ?? "", /^- [^\p{Cc}\u2028\u2029]*x$/u);
        },
      ),
      { numRuns: 40 },
    );
  });
});
