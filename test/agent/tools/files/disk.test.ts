import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFile, chmod, chown, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { openDir } from "../../../../src/agent/tools/files/open-dir.ts";
import { replaceFile } from "../../../../src/agent/tools/files/replace-file.ts";
import { called, createTestWorkspace } from "../../../support/file-tools.ts";

const isRoot = process.getuid?.() === 0;

/** Whether this user may mount: not in every container. */
function mounted(folder: string): boolean {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe("a disk that is full", () => {
  it("leaves every file as it was, and no draft", { skip: !isRoot }, async (test) => {
    await using files = await createTestWorkspace();
    const { workspace } = files;
    if (!mounted(workspace)) return test.skip("no right to mount");
    try {
      const tools = files.tools();
      const much = "0123456789\n".repeat(30_000);
      await writeFile(join(workspace, "a.txt"), "one\ntwo\n");
      const full = "error: the disk is full; nothing was changed";
      assert.equal(await called(tools, "write_file", { path: "new.txt", content: much }), full);
      const over = { path: "a.txt", content: much, overwrite: true };
      assert.equal(await called(tools, "write_file", over), full);
      const change = { path: "a.txt", old_text: "two", new_text: much };
      assert.equal(await called(tools, "edit_file", change), full);
      assert.equal(await called(tools, "append_file", { path: "a.txt", content: much }), full);
      assert.equal(await readFile(join(workspace, "a.txt"), "utf8"), "one\ntwo\n");
      assert.deepEqual(await readdir(workspace), ["a.txt"]);
    } finally {
      execFileSync("umount", [workspace]);
    }
  });
});

describe("a file that is changed", () => {
  it("has its old mode, and its old owner if root changes it", { skip: !isRoot }, async () => {
    await using files = await createTestWorkspace();
    const path = join(files.workspace, "a.txt");
    await writeFile(path, "one");
    await chown(path, 1234, 2345);
    await chmod(path, 0o640);
    const tools = files.tools();
    await called(tools, "edit_file", { path: "a.txt", old_text: "one", new_text: "two" });
    await called(tools, "write_file", { path: "a.txt", content: "three", overwrite: true });
    const { uid, gid, mode } = await stat(path);
    assert.deepEqual([uid, gid, mode & 0o777], [1234, 2345, 0o640]);
    assert.equal(await readFile(path, "utf8"), "three");
  });

  it("is left where somebody else has changed it since it was read", async () => {
    await using files = await createTestWorkspace();
    const path = join(files.workspace, "service.log");
    await writeFile(path, "one\n");
    const madeOf = await stat(path);
    await appendFile(path, "two\n");
    const dir = await openDir(files.workspace);
    const content = "ONE\n";
    await assert.rejects(
      replaceFile(dir, "service.log", { content, madeOf }),
      /has just been changed/,
    );
    assert.equal(await readFile(path, "utf8"), "one\ntwo\n");
    await replaceFile(dir, "service.log", { content, madeOf: await stat(path) });
    assert.equal(await readFile(path, "utf8"), content);
    assert.deepEqual(await readdir(files.workspace), ["service.log"]);
    await dir.close();
  });
});
