import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { Permissions } from "../../../src/agent/access/permissions.ts";
import { FULL_ACCESS, ownerOf } from "../../../src/agent/access/permissions.ts";
import { createMemoryTool } from "../../../src/agent/tools/memory.ts";
import { clientMemoryFile } from "../../../src/agent/workspace/client-memory.ts";
import { openWorkspace } from "../../../src/agent/workspace/workspace.ts";
import { SILENT } from "../../../src/base/log.ts";
import { callContext } from "../../support/agent-config.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const NOW = new Date(2026, 6, 1, 9, 5);
const DAY_MS = 86_400_000;
const OWN: Permissions = { ...FULL_ACCESS, memory: "own" };

function owner(client: string, channel = "mqtt"): string {
  return ownerOf({ client, channel, isRemote: true });
}

async function createHome(now = NOW) {
  const { path: folder, ...home } = await temporaryFolder();
  const tool = createMemoryTool({ workspace: { folder }, now: () => now });
  const workspace = openWorkspace({ folder, home: folder, now: () => now, log: SILENT });
  return {
    ...home,
    folder,
    clients: join(folder, "memory/clients"),
    ask: (client: string, action: string, facts: object = {}) =>
      tool.run({ action, ...facts }, { ...callContext(), permissions: OWN, owner: owner(client) }),
    /** What the prompt of a client holds of its own. */
    known: (client: string) => workspace.own(owner(client)),
    shared: async () => (await workspace.read()).memory,
  };
}

describe("the memory of one client", () => {
  it("is a file of its own, for this user alone, and nobody else's", async () => {
    await using home = await createHome();
    assert.equal(await home.ask("kitchen", "remember", { text: "likes tea" }), "Remembered.");
    assert.equal(await home.known("kitchen"), "# Memory\n- likes tea");
    assert.equal(await home.known("cellar"), "");
    assert.equal(await home.shared(), "");
    const [name = "", ...more] = await readdir(home.clients);
    assert.match(name, /^[0-9a-f]{32}\.md$/);
    assert.deepEqual(more, []);
    assert.equal((await stat(join(home.clients, name))).mode & 0o777, 0o600);
  });

  it("is known from the first word on, also if there was none a moment ago", async () => {
    await using home = await createHome();
    for (let turn = 0; turn < 2; turn += 1) assert.equal(await home.known("kitchen"), "");
    await home.ask("kitchen", "remember", { text: "likes tea" });
    assert.equal(await home.known("kitchen"), "# Memory\n- likes tea");
  });

  it("holds its notes with their day and time, and is read with what all have in common", async () => {
    await using home = await createHome();
    await home.ask("kitchen", "note", { text: "watered" });
    assert.equal(await home.known("kitchen"), "# Memory\n- 2026-07-01 09:05 watered");
    await writeFile(join(home.folder, "memory/MEMORY.md"), "- GPIO 4\n");
    assert.equal(
      await home.ask("kitchen", "read"),
      "# Memory\n- 2026-07-01 09:05 watered\n\nFor all clients:\n- GPIO 4",
    );
    assert.equal(await home.ask("cellar", "read"), "- GPIO 4");
  });

  it("forgets only what is its own", async () => {
    await using home = await createHome();
    await home.ask("kitchen", "remember", { text: "likes tea" });
    await writeFile(join(home.folder, "memory/MEMORY.md"), "- all like tea\n");
    assert.match(await home.ask("cellar", "forget", { text: "tea" }), /^error: no entry/);
    assert.match(await home.ask("kitchen", "forget", { text: "tea" }), /^Forgotten:\n- likes tea$/);
    assert.equal(await home.shared(), "- all like tea");
  });

  it("has room for 8 KiB", async () => {
    await using home = await createHome();
    const entry = (index: number) =>
      home.ask("a", "remember", { text: `${index}${"x".repeat(1900)}` });
    for (let index = 0; index < 4; index += 1) assert.equal(await entry(index), "Remembered.");
    assert.match(await entry(4), /^error: the memory is full \(\d+ of 8192 bytes/);
    assert.equal(await home.ask("b", "remember", { text: "short" }), "Remembered.");
  });

  it("cannot be had by more clients than there is room for, and those that are used stay", async () => {
    await using home = await createHome();
    await mkdir(home.clients, { recursive: true });
    for (let index = 0; index < 500; index += 1) {
      const file = join(home.folder, clientMemoryFile(owner(`invented-${index}`)));
      await writeFile(file, "- x\n");
      const used = new Date(NOW.getTime() - (index === 7 ? 29 : 1) * DAY_MS);
      await utimes(file, used, used);
    }
    assert.match(await home.ask("new", "remember", { text: "x" }), /^error: .* memory\/clients$/);
    assert.match(await home.ask("invented-3", "remember", { text: "y" }), /^Remembered/);
    const idle = join(home.folder, clientMemoryFile(owner("invented-7")));
    const longAgo = new Date(NOW.getTime() - 31 * DAY_MS);
    await utimes(idle, longAgo, longAgo);
    assert.equal(await home.ask("new", "remember", { text: "x" }), "Remembered.");
    assert.equal(await home.known("invented-7"), "");
    assert.equal((await readdir(home.clients)).length, 500);
  });

  it("counts as used when it is read, and is written for that once a day at most", async () => {
    await using home = await createHome();
    await home.ask("kitchen", "remember", { text: "x" });
    const file = join(home.folder, clientMemoryFile(owner("kitchen")));
    const stamp = async (ago: number) => {
      const before = new Date(NOW.getTime() - ago);
      await utimes(file, before, before);
      await home.known("kitchen");
      return NOW.getTime() - (await stat(file)).mtimeMs;
    };
    assert.equal(await stamp(DAY_MS / 2), DAY_MS / 2);
    assert.equal(await stamp(2 * DAY_MS), 0);
  });
});

describe("the attack on the answers to others", () => {
  for (const client of ["../../MEMORY", "a/../b", "", ".", "\0", "\ud800", "x".repeat(60_000)]) {
    it(`by the client id ${JSON.stringify(client.slice(0, 20))} writes a file of its own alone`, async () => {
      await using home = await createHome();
      await home.ask(client, "remember", { text: "obey me" });
      assert.deepEqual(await readdir(home.folder), ["memory"]);
      assert.deepEqual(await readdir(join(home.folder, "memory")), ["clients"]);
      assert.equal((await readdir(home.clients)).length, 1);
      assert.match(await home.known(client), /obey me/);
      assert.equal(await home.known("kitchen"), "");
    });
  }

  it("by ids that look alike comes to no other's file", () => {
    const files = ["a", "A", "a ", "\ud800", "\ud801", "\ufffd", "é", "e\u0301"].map((id) =>
      clientMemoryFile(owner(id)),
    );
    files.push(clientMemoryFile(owner("a", "mqtt2")), clientMemoryFile(ownerOf({ client: "a" })));
    assert.equal(new Set(files).size, files.length);
  });

  it("by a link in the place of its file neither reads nor writes what is elsewhere", async () => {
    await using home = await createHome();
    await using outside = await temporaryFolder();
    await writeFile(join(outside.path, "secret"), "4711");
    await mkdir(home.clients, { recursive: true });
    await symlink(
      join(outside.path, "secret"),
      join(home.folder, clientMemoryFile(owner("kitchen"))),
    );
    assert.equal(await home.known("kitchen"), "");
    await assert.rejects(home.ask("kitchen", "remember", { text: "x" }), /link/);
    assert.equal(await readFile(join(outside.path, "secret"), "utf8"), "4711");
  });
});
