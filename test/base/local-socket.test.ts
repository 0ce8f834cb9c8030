import assert from "node:assert/strict";
import { chmod, readdir, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { readServedText, socketName, serveText } from "../../src/base/local-socket.ts";
import { temporaryFolder } from "../support/temporary.ts";

const SOON_MS = 5000;

describe("a text served over a local socket", () => {
  it("reaches this user's programs alone, each a text of its own", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "gateway.sock");
    let times = 0;
    const served = await serveText(file, async () => `${(times += 1)} ${"x".repeat(200_000)}`);
    const text = await readServedText(file, SOON_MS);
    assert.equal(text?.length, 200_002);
    assert.equal((await readServedText(file, SOON_MS))?.[0], "2");
    const { mode } = await stat(file);
    assert.equal(mode & 0o777, 0o600);
    assert.deepEqual(await readdir(folder.path), ["gateway.sock"]);
    await served.close();
    assert.deepEqual(await readdir(folder.path), []);
    assert.equal(await readServedText(file, SOON_MS), undefined);
  });

  it("takes the place of what a former process left", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "gateway.sock");
    await writeFile(file, "");
    assert.equal(await readServedText(file, SOON_MS), undefined);
    const served = await serveText(file, async () => "now");
    assert.equal(await readServedText(file, SOON_MS), "now");
    await served.close();
  });

  it("works where the name of the file is too long for a socket", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "long".repeat(40), "gateway.sock");
    assert.notEqual(socketName(file), file);
    assert.ok(Buffer.byteLength(socketName(file)) <= 103);
    const served = await serveText(file, async () => "far");
    assert.equal(await readServedText(file, SOON_MS), "far");
    await served.close();
    assert.equal(await readServedText(file, SOON_MS), undefined);
  });

  it("is not read from a folder that others can write to", async () => {
    await using folder = await temporaryFolder();
    const former = process.env["TMPDIR"];
    process.env["TMPDIR"] = folder.path;
    try {
      const file = join(folder.path, "long".repeat(40), "gateway.sock");
      const name = socketName(file);
      const served = await serveText(file, async () => "far");
      await chmod(dirname(name), 0o777);
      assert.equal(await readServedText(file, SOON_MS), undefined);
      await assert.rejects(
        serveText(file, async () => "far"),
        /does not belong to this user/,
      );
      await served.close();
    } finally {
      if (former === undefined) delete process.env["TMPDIR"];
      else process.env["TMPDIR"] = former;
    }
  });

  it("is not waited for longer than asked, and is nothing if the program fails", async () => {
    await using folder = await temporaryFolder();
    const silent = join(folder.path, "silent.sock");
    const server = createServer();
    await new Promise<void>((resolve) => {
      server.listen(silent, resolve);
    });
    assert.equal(await readServedText(silent, 50), undefined);
    await new Promise((resolve) => {
      server.close(resolve);
    });
    const failing = join(folder.path, "failing.sock");
    const served = await serveText(failing, () => Promise.reject(new Error("no status")));
    assert.equal(await readServedText(failing, SOON_MS), undefined);
    await served.close();
  });
});
