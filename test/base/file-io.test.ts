import assert from "node:assert/strict";
import { readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { writeAtomically } from "../../src/base/file-io.ts";
import { temporaryFolder } from "../support/temporary.ts";

const fail = () => Promise.reject(new Error("no"));

describe("a file that is written atomically", () => {
  it("has the whole content, and is its user's alone", async () => {
    await using folder = await temporaryFolder();
    // As long as a name may be: a draft with a longer one could not be made.
    const file = join(folder.path, "n".repeat(255));
    await writeAtomically(file, "one");
    await writeAtomically(file, new TextEncoder().encode("two"));
    assert.equal(await readFile(file, "utf8"), "two");
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(folder.path), ["n".repeat(255)]);
  });

  it("stays as it was if a step fails, without a draft", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "a");
    await writeFile(file, "one");
    await assert.rejects(writeAtomically(file, "two", { prepare: fail }), /^Error: no$/);
    await assert.rejects(writeAtomically(file, "two", { check: fail }), /^Error: no$/);
    assert.equal(await readFile(file, "utf8"), "one");
    assert.deepEqual(await readdir(folder.path), ["a"]);
  });

  it("takes the place of a link, and changes nothing where that leads", async () => {
    await using folder = await temporaryFolder();
    const [file, other] = [join(folder.path, "a"), join(folder.path, "b")];
    await writeFile(other, "other");
    await symlink(other, file);
    await writeAtomically(file, "one");
    assert.equal(await readFile(other, "utf8"), "other");
    assert.equal(await readFile(file, "utf8"), "one");
  });
});
