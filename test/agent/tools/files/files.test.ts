import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, link, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { openDir } from "../../../../src/agent/tools/files/open-dir.ts";
import { toolSettings } from "../../../support/agent-config.ts";
import { codePoint } from "../../../support/code-point.ts";
import { called, createTestWorkspace } from "../../../support/file-tools.ts";

const ODD = "aé€😀\nz";

/** All that reading on gives, and how many calls it took. */
async function readThrough(
  read: (from: number | undefined) => Promise<string>,
  next: RegExp,
): Promise<{ text: string; calls: number }> {
  let text = "";
  let from: number | undefined;
  for (let calls = 1; ; calls += 1) {
    assert.ok(calls < 200, "reading does not get on");
    const result = await read(from);
    assert.doesNotMatch(result, /^error/);
    const end = result.indexOf("\n");
    text += result.slice(end + 1);
    const on = next.exec(result.slice(0, end));
    if (on === null) return { text, calls };
    from = Number(on[1]);
  }
}

describe("read_file", () => {
  it("gives a small file whole, and says so", async () => {
    await using files = await createTestWorkspace();
    await writeFile(join(files.workspace, "a.txt"), "one\ntwo\n");
    await writeFile(join(files.workspace, "none.txt"), "");
    const tools = files.tools();
    assert.equal(
      await called(tools, "read_file", { path: "a.txt" }),
      "[a.txt: all 8 bytes]\none\ntwo\n",
    );
    assert.equal(
      await called(tools, "read_file", { path: join(files.workspace, "a.txt"), offset: null }),
      `[${join(files.workspace, "a.txt")}: all 8 bytes]\none\ntwo\n`,
    );
    assert.equal(await called(tools, "read_file", { path: "none.txt" }), "[none.txt is empty]");
    assert.equal(
      await called(tools, "read_file", { path: "a.txt", offset: 8 }),
      "error: a.txt has 8 bytes, there is nothing from byte 8 on",
    );
  });

  it("reads on by bytes to the same text, whatever the size of a call, never half a character", async () => {
    await using files = await createTestWorkspace();
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: codePoint, minLength: 1 }),
        fc.nat(30),
        async (part, most) => {
          const text = `${part.replaceAll("\0", "")}${ODD}`;
          await writeFile(join(files.workspace, "a.txt"), text);
          const read_file = { mode: "bytes", max_read_file_size: most } as const;
          const tools = files.tools({ settings: toolSettings({ read_file }) });
          const read = (offset: number | undefined) =>
            called(tools, "read_file", { path: "a.txt", offset });
          const all = await readThrough(read, /; read on with offset (\d+)\]$/);
          assert.equal(all.text, text);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("reads on by lines to the same text, whatever the number of lines", async () => {
    await using files = await createTestWorkspace();
    const line = fc
      .string({ unit: "grapheme", maxLength: 8 })
      .map((text) => text.replace(/[\n\0]/g, ""));
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { minLength: 1 }),
        fc.integer({ min: 1, max: 9 }),
        async (lines, most) => {
          const text = `${lines.join("\n")}.`;
          await writeFile(join(files.workspace, "a.txt"), text);
          const read_file = { mode: "lines", max_read_file_size: 200 } as const;
          const tools = files.tools({ settings: toolSettings({ read_file }) });
          const read = (start_line: number | undefined) =>
            called(tools, "read_file", { path: "a.txt", start_line, max_lines: most });
          const all = await readThrough(read, /; read on with start_line (\d+)\]$/);
          assert.equal(all.text, text);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("finds lines in a file that is longer than a call, and cuts a line that is", async () => {
    await using files = await createTestWorkspace();
    const long = `${"x".repeat(99)}é`;
    await writeFile(join(files.workspace, "a.txt"), `${"line\n".repeat(50_000)}${long}\nend`);
    const read_file = { mode: "lines", max_read_file_size: 100 } as const;
    const tools = files.tools({ settings: toolSettings({ read_file }) });
    const read = (start_line: number) => called(tools, "read_file", { path: "a.txt", start_line });
    assert.equal(
      await read(50_001),
      `[a.txt: line 50001 of 50002 is too long, only its beginning is shown; go on with start_line 50002]\n${"x".repeat(99)}`,
    );
    assert.equal(await read(50_002), "[a.txt: lines 50002 to 50002 of 50002; its end]\nend");
    assert.match(
      await read(50_000),
      /^\[a\.txt: lines 50000 to 50000 of 50002; read on with start_line 50001\]\nline\n$/,
    );
    assert.match(await read(50_003), /^error: a\.txt has 50002 lines, there is no line 50003/);
  });

  it("gives at most what the settings allow, and all of that", async () => {
    await using files = await createTestWorkspace();
    await writeFile(join(files.workspace, "a.txt"), "x".repeat(70_000));
    const result = await called(files.tools(), "read_file", { path: "a.txt", length: 1e9 });
    assert.equal(
      result,
      `[a.txt: bytes 0 to 65535 of 70000; read on with offset 65536]\n${"x".repeat(65_536)}`,
    );
  });

  it("names what is no text instead of showing it", async () => {
    await using files = await createTestWorkspace();
    await writeFile(
      join(files.workspace, "a.png"),
      new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0, 0, 1]),
    );
    await writeFile(join(files.workspace, "b.bin"), new Uint8Array(100).fill(0xff));
    const tools = files.tools();
    assert.equal(
      await called(tools, "read_file", { path: "a.png" }),
      "error: a.png is a binary file of 7 bytes, not text",
    );
    assert.match(
      await called(tools, "read_file", { path: "b.bin" }),
      /^error: b\.bin is a binary file/,
    );
  });

  it("answers in words for what is no file, and never waits for a pipe", async () => {
    await using files = await createTestWorkspace();
    execFileSync("mkfifo", [join(files.workspace, "pipe")]);
    await symlink("nowhere", join(files.workspace, "dangling"));
    await symlink("loop", join(files.workspace, "loop"));
    await writeFile(join(files.workspace, "file"), "x");
    const server = createServer().listen(join(files.workspace, "socket"));
    const tools = files.tools();
    const words: Readonly<Record<string, RegExp>> = {
      pipe: /pipe, a socket or a device/,
      socket: /pipe, a socket or a device/,
      dangling: /does not exist/,
      loop: /symbolic link that leads nowhere/,
      "file/x": /a part of file\/x is a file/,
      missing: /missing does not exist/,
      ".": /is a folder: list_dir/,
      "": /path is empty/,
      ["x".repeat(300)]: /too long/,
      ["x/".repeat(3000)]: /too long/,
      "a\0b": /no path can contain/,
      "\ud800": /no path can contain/,
    };
    for (const [path, expected] of Object.entries(words)) {
      const result = await called(tools, "read_file", { path });
      assert.match(result, /^error: /);
      assert.match(result, expected);
    }
    assert.match(
      await called(tools, "append_file", { path: "pipe", content: "x" }),
      /^error: .*pipe/,
    );
    assert.match(
      await called(tools, "write_file", { path: "pipe", content: "x", overwrite: true }),
      /^error: .*pipe/,
    );
    assert.match(await called(tools, "write_file", { path: "dangling", content: "x" }), /^error: /);
    await new Promise((resolve) => server.close(resolve));
  });
});

describe("write_file", () => {
  it("makes files and folders for this user only, and replaces only if the call says so", async () => {
    await using files = await createTestWorkspace();
    const tools = files.tools();
    const write = (input: Readonly<Record<string, unknown>>) => called(tools, "write_file", input);
    assert.equal(await write({ path: "a/b/c.txt", content: "é" }), "wrote a/b/c.txt (2 bytes)");
    const file = join(files.workspace, "a/b/c.txt");
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.equal((await stat(join(files.workspace, "a"))).mode & 0o777, 0o700);
    assert.match(
      await write({ path: "a/b/c.txt", content: "2" }),
      /^error: .*exists already \(2 bytes\).*overwrite/,
    );
    assert.match(await write({ path: "a/b/c.txt", content: "2", overwrite: null }), /^error: /);
    assert.equal(await readFile(file, "utf8"), "é");
    await chmod(file, 0o640);
    assert.equal(
      await write({ path: "a/b/c.txt", content: "2", overwrite: true }),
      "replaced a/b/c.txt (1 bytes)",
    );
    assert.equal(await readFile(file, "utf8"), "2");
    assert.equal((await stat(file)).mode & 0o777, 0o640);
    assert.match(
      await write({ path: "a", content: "2", overwrite: true }),
      /^error: that is a folder/,
    );
    assert.match(await write({ path: "a/b/c.txt/d", content: "2" }), /^error: a part of/);
    assert.deepEqual(await readdir(join(files.workspace, "a/b")), ["c.txt"]);
  });

  it("is seen whole or not at all by who reads meanwhile", async () => {
    await using files = await createTestWorkspace();
    const tools = files.tools();
    const contents = ["a".repeat(200_000), "b".repeat(200_000)];
    const file = join(files.workspace, "f");
    await writeFile(file, contents[0] ?? "");
    const written = new AbortController();
    const reading = (async () => {
      while (!written.signal.aborted) assert.ok(contents.includes(await readFile(file, "utf8")));
    })();
    for (let round = 0; round < 40; round += 1) {
      await called(tools, "write_file", {
        path: "f",
        content: contents[round % 2],
        overwrite: true,
      });
    }
    written.abort();
    await reading;
  });

  it("makes the workspace where it is missing", async () => {
    await using files = await createTestWorkspace();
    const tools = files.tools({ workspace: join(files.workspace, "later/ws") });
    assert.equal(await called(tools, "list_dir", {}), "[. is empty]");
    assert.match(await called(tools, "write_file", { path: "a", content: "x" }), /^wrote a/);
    assert.equal(await readFile(join(files.workspace, "later/ws/a"), "utf8"), "x");
  });
});

describe("list_dir", () => {
  it("shows kind, name and size, sorted, and how many are left out", async () => {
    await using files = await createTestWorkspace();
    const tools = files.tools();
    await mkdir(join(files.workspace, "d"));
    await writeFile(join(files.workspace, "b\n\u001b[31m.txt"), "123");
    await symlink("/etc", join(files.workspace, "link"));
    assert.equal(
      await called(tools, "list_dir", { path: "" }),
      "file    b\\n\\x1b[31m.txt  3 bytes\nfolder  d/\nlink    link",
    );
    assert.equal(await called(tools, "list_dir", { path: "d" }), "[d is empty]");
    const names = Array.from({ length: 250 }, (_, index) => `d/${String(index).padStart(3, "0")}`);
    await Promise.all(names.map((name) => writeFile(join(files.workspace, name), "")));
    const lines = (await called(tools, "list_dir", { path: "d" })).split("\n");
    assert.deepEqual(
      [lines[0], lines[199], lines[200]],
      ["file    000  0 bytes", "file    199  0 bytes", "… (50 more left out)"],
    );
    assert.match(
      await called(tools, "list_dir", { path: "d/001" }),
      /^error: a part of d\/001 is a file/,
    );
  });
});

describe("edit_file", () => {
  it("changes the one passage that is meant, byte for byte", async () => {
    await using files = await createTestWorkspace();
    const tools = files.tools();
    const file = join(files.workspace, "a.txt");
    const edit = (old_text: string, new_text: string) =>
      called(tools, "edit_file", { path: "a.txt", old_text, new_text });
    await writeFile(file, "\ufeffone\r\ntwo $& \n  three here\n", { mode: 0o644 });
    assert.equal(await edit("two $&", "2 $& $1"), "changed a.txt in line 2");
    assert.equal(await readFile(file, "utf8"), "\ufeffone\r\n2 $& $1 \n  three here\n");
    assert.equal((await stat(file)).mode & 0o777, 0o644);
    assert.match(
      await edit("three  hear", "x"),
      /^error: a\.txt does not hold that text; the nearest is line 3: {3}three here$/,
    );
    assert.match(await edit("one\n2", "x"), /its lines end with \\r\\n/);
    assert.match(
      await edit("e", "x"),
      /^error: that text is in a\.txt 5 times \(lines 1, 3, 3, 3, 3\)/,
    );
    assert.match(await edit("", "x"), /^error: wrong arguments/);
    assert.match(await edit("\u4e2d\u6587", "x"), /does not hold that text$/);
    await writeFile(file, "aaa");
    assert.match(await edit("aa", "x"), /2 times/);
    await writeFile(file, new Uint8Array([0xff, 0x61]));
    assert.match(await edit("a", "b"), /^error: a\.txt is no UTF-8 text/);
    assert.deepEqual([...(await readFile(file))], [0xff, 0x61]);
  });
});

describe("append_file", () => {
  it("adds to the end, makes what is missing, and leaves files of more than one name alone", async () => {
    await using files = await createTestWorkspace();
    const tools = files.tools();
    const append = (path: string, content: string) =>
      called(tools, "append_file", { path, content });
    assert.equal(await append("log/a", "1\n"), "added 2 bytes to log/a, which has 2 now");
    assert.equal(await append("log/a", "é"), "added 2 bytes to log/a, which has 4 now");
    assert.equal(await readFile(join(files.workspace, "log/a"), "utf8"), "1\né");
    await writeFile(join(files.outside, "o"), "theirs");
    await link(join(files.outside, "o"), join(files.workspace, "o"));
    assert.match(await append("o", "x"), /^error: o has more than one name/);
    assert.match(
      await called(tools, "write_file", { path: "o", content: "mine", overwrite: true }),
      /^replaced/,
    );
    assert.equal(await readFile(join(files.outside, "o"), "utf8"), "theirs");
  });
});

describe("an open folder where the system has no handles by name", () => {
  it("is noticed when something else has come to its path", async () => {
    await using files = await createTestWorkspace();
    const folder = join(files.workspace, "d");
    await mkdir(folder);
    const dir = await openDir(folder, "/proc/there-is-no-such-folder");
    await writeFile(dir.pathOf("a"), "x");
    const below = await dir.child("e", true);
    await below.check();
    execFileSync("sh", ["-c", `mv d old && ln -s old d`], { cwd: files.workspace });
    await assert.rejects(dir.check(), /was just replaced/);
    await assert.rejects(below.check(), /was just replaced/);
    await assert.rejects(
      openDir(join(folder, "e"), "/proc/there-is-no-such-folder"),
      /was just replaced/,
    );
  });
});
