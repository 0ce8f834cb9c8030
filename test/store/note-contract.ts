import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { NoteStore } from "../../src/store/contract/notes.ts";

/** What a store promises that has the notes of several gateways. */
export function noteContract(name: string, open: () => Promise<NoteStore & AsyncDisposable>): void {
  describe(`${name}: notes`, () => {
    it("are replaced only by who knows the latest version", async () => {
      await using store = await open();
      assert.equal(await store.note("memory/a.md"), undefined);
      const first = await store.writeNote("memory/a.md", "one", 0);
      assert.ok(first !== undefined && first > 0);
      assert.equal(await store.writeNote("memory/a.md", "two", 0), undefined);
      const writes = await Promise.all([
        store.writeNote("memory/a.md", "left", first),
        store.writeNote("memory/a.md", "right", first),
      ]);
      assert.equal(writes.filter((version) => version !== undefined).length, 1);
      const note = await store.note("memory/a.md");
      assert.equal(note?.text, writes[0] === undefined ? "right" : "left");
      assert.ok(writes.includes(note?.version));
    });

    it("have another version after they were deleted", async () => {
      await using store = await open();
      const before = await store.writeNote("a", "1", 0);
      await store.eraseNote("a");
      assert.equal(await store.note("a"), undefined);
      assert.equal(await store.writeNote("a", "2", before ?? 0), undefined);
      const after = await store.writeNote("a", "2", 0);
      assert.ok(after !== undefined && after !== before);
    });

    it("are listed by the beginning of their names, taken literally", async () => {
      await using store = await open();
      for (const each of ["memory/b", "memory/a", "memoryX", "m_mory/c", "memory%/d"])
        await store.writeNote(each, each, 0);
      const names = async (prefix: string) =>
        (await store.notes(prefix)).map(({ name: listed }) => listed);
      assert.deepEqual(await names("memory/"), ["memory/a", "memory/b"]);
      assert.deepEqual(await names("m_mory"), ["m_mory/c"]);
      assert.deepEqual(await names("memory%"), ["memory%/d"]);
      const [listed] = await store.notes("memory/a");
      const { text: _text, ...note } = (await store.note("memory/a")) ?? assert.fail();
      assert.deepEqual(listed, note);
    });

    it("remember when they were used", async () => {
      await using store = await open();
      await store.writeNote("a", "1", 0);
      const before = (await store.note("a"))?.usedAt ?? 0;
      await store.useNote("a");
      await store.useNote("none");
      const after = await store.note("a");
      assert.ok(after && after.usedAt >= before);
      assert.equal(after.text, "1");
      assert.equal(await store.note("none"), undefined);
    });

    it("keep any text, byte for byte", async () => {
      await using store = await open();
      for (const text of ["", "\n \t\r\n", "\u00e4 \u{1f600} ' \" \\ $1 %s", "x".repeat(70_000)]) {
        const { version = 0 } = (await store.note("a")) ?? {};
        await store.writeNote("a", text, version);
        assert.equal((await store.note("a"))?.text, text);
      }
    });
  });
}
