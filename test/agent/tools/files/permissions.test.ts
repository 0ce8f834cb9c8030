import assert from "node:assert/strict";
import { link, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { FilePermissions } from "../../../../src/agent/access/permissions.ts";
import { called, createTestWorkspace } from "../../../support/file-tools.ts";
import type { TestWorkspace } from "../../../support/file-tools.ts";

/** A workspace with a file in each of some folders, and one outside of it. */
async function workspaceWithFiles(): Promise<TestWorkspace> {
  const files = await createTestWorkspace();
  for (const folder of ["data", "notes", "skills", "state", "sessions", "memory/clients"]) {
    await mkdir(join(files.workspace, folder), { recursive: true });
    await writeFile(join(files.workspace, folder, "a.txt"), `in ${folder}`);
  }
  await writeFile(join(files.outside, "a.txt"), "outside");
  return files;
}

function toolsFor(files: TestWorkspace, permissions: Partial<FilePermissions>) {
  const absolute = (paths: readonly string[] = []) =>
    paths.map((path) => join(files.workspace, path));
  return files.tools({
    permissions: { read: absolute(permissions.read), write: absolute(permissions.write) },
  });
}

const CLOSED = /^error: .* is not open to this client$/;

describe("the rights of a profile on files", () => {
  it("are the folders that it names with all below, and the files", async () => {
    await using files = await workspaceWithFiles();
    const tools = toolsFor(files, { read: ["data", "notes/a.txt"], write: ["data"] });
    assert.match(await called(tools, "read_file", { path: "data/a.txt" }), /in data/);
    assert.match(await called(tools, "read_file", { path: "notes/a.txt" }), /in notes/);
    assert.match(await called(tools, "list_dir", { path: "data" }), /a\.txt/);
    assert.match(await called(tools, "list_dir", { path: "notes" }), CLOSED);
    assert.match(await called(tools, "list_dir", {}), CLOSED);
    assert.match(await called(tools, "read_file", { path: "skills/a.txt" }), CLOSED);
    await called(tools, "write_file", { path: "data/new/b.txt", content: "b" });
    assert.equal(await readFile(join(files.workspace, "data/new/b.txt"), "utf8"), "b");
    assert.match(await called(tools, "write_file", { path: "b.txt", content: "b" }), CLOSED);
    assert.match(await called(tools, "append_file", { path: "notes/a.txt", content: "b" }), CLOSED);
  });

  it("are in the descriptions of the tools", async () => {
    await using files = await workspaceWithFiles();
    const tools = toolsFor(files, { read: [".", "data"], write: ["notes"] });
    const about = (name: string) => tools.find((tool) => tool.name === name)?.description ?? "";
    assert.match(about("read_file"), /Only for these paths and all below them: \., data\.$/);
    assert.match(about("write_file"), /Only for these paths and all below them: notes\.$/);
  });

  it("let a passage be changed only where it may be read and written", async () => {
    await using files = await workspaceWithFiles();
    const change = { path: "data/a.txt", old_text: "in data", new_text: "changed" };
    const blind = toolsFor(files, { write: ["data"] });
    assert.match(await called(blind, "edit_file", change), CLOSED);
    const lame = toolsFor(files, { read: ["data"] });
    assert.match(await called(lame, "edit_file", change), CLOSED);
    const both = toolsFor(files, { read: ["data"], write: ["data"] });
    assert.match(await called(both, "edit_file", change), /^changed/);
  });

  it("leave the owner's words as they are, unless a profile names them and not only what is around", async () => {
    await using files = await workspaceWithFiles();
    const words = ["AGENT.md", "SOUL.md", "skills/a.txt", "skills/new/SKILL.md"];
    const around = toolsFor(files, { read: ["."], write: ["."] });
    const content = "obey me";
    for (const path of words) {
      const write = await called(around, "write_file", { path, content, overwrite: true });
      assert.match(write, /owner's instructions to the agent/, path);
      assert.match(
        await called(around, "append_file", { path, content }),
        /owner's instructions/,
        path,
      );
    }
    const change = { path: "skills/a.txt", old_text: "in skills", new_text: content };
    assert.match(await called(around, "edit_file", change), /owner's instructions/);
    assert.match(await called(around, "read_file", { path: "skills/a.txt" }), /in skills/);
    assert.match(await called(around, "write_file", { path: "notes/AGENT.md", content }), /^wrote/);
    const named = toolsFor(files, { read: [], write: ["AGENT.md", "skills/new"] });
    for (const path of ["AGENT.md", "skills/new/SKILL.md"]) {
      assert.match(await called(named, "write_file", { path, content }), /^wrote/, path);
    }
  });

  it("reach outside of the workspace where they say so, and no further", async () => {
    await using files = await workspaceWithFiles();
    const tools = files.tools({ permissions: { read: [files.outside], write: [] } });
    const file = join(files.outside, "a.txt");
    assert.match(await called(tools, "read_file", { path: file }), /outside/);
    assert.match(await called(tools, "write_file", { path: file, content: "x" }), CLOSED);
    assert.match(await called(tools, "read_file", { path: "/etc/hostname" }), CLOSED);
  });

  it("are not widened by what the settings allow everyone", async () => {
    await using files = await workspaceWithFiles();
    const permissions = { read: [join(files.workspace, "data")], write: [] };
    const tools = files.tools({ permissions, restrict: false, readOutside: true });
    assert.match(await called(tools, "read_file", { path: "/etc/hostname" }), CLOSED);
    assert.match(await called(tools, "read_file", { path: "notes/a.txt" }), CLOSED);
  });
});

describe("the attack on files", () => {
  for (const path of [
    "data/../notes/a.txt",
    "data/../../outside/a.txt",
    "./notes/a.txt",
    "data/./../notes/a.txt",
    "datax/../notes/a.txt",
    "/proc/self/cwd",
    "/proc/self/root/etc/hostname",
  ]) {
    it(`by the path ${path} ends at the folder of the profile`, async () => {
      await using files = await workspaceWithFiles();
      const tools = toolsFor(files, { read: ["data"] });
      assert.match(await called(tools, "read_file", { path }), CLOSED);
    });
  }

  it("by a link in the own folder to another one ends there", async () => {
    await using files = await workspaceWithFiles();
    await symlink("../notes", join(files.workspace, "data/link"));
    await symlink(join(files.outside, "a.txt"), join(files.workspace, "data/out"));
    const tools = toolsFor(files, { read: ["data"], write: ["data"] });
    assert.match(await called(tools, "read_file", { path: "data/link/a.txt" }), CLOSED);
    assert.match(await called(tools, "read_file", { path: "data/out" }), CLOSED);
    assert.match(await called(tools, "write_file", { path: "data/out", content: "x" }), CLOSED);
    assert.equal(await readFile(join(files.outside, "a.txt"), "utf8"), "outside");
  });

  it("by a link in the place of a folder that a profile names gives nothing more", async () => {
    await using files = await workspaceWithFiles();
    await symlink(".", join(files.workspace, "granted"));
    await symlink(files.outside, join(files.workspace, "away"));
    const tools = toolsFor(files, { read: ["granted", "away"] });
    for (const path of ["granted/notes/a.txt", "notes/a.txt", "away/a.txt"]) {
      assert.match(await called(tools, "read_file", { path }), CLOSED, path);
    }
  });

  for (const path of [
    "state/a.txt",
    "sessions/a.txt",
    "memory/clients/a.txt",
    "memory/CLIENTS/a.txt",
    "Memory/clients./a.txt",
    "memory/../memory/clients/a.txt",
  ]) {
    it(`by reading ${path} with a profile for the whole workspace ends there`, async () => {
      await using files = await workspaceWithFiles();
      const tools = toolsFor(files, { read: ["."], write: ["."] });
      assert.match(
        await called(tools, "read_file", { path }),
        /^error: .* (holds this program's own state or keys|does not exist)$/,
      );
      assert.match(await called(tools, "write_file", { path, content: "x" }), /^error: .* holds/);
    });
  }

  it("by the names of keys and of the configuration in a folder that was granted ends there", async () => {
    await using files = await workspaceWithFiles();
    for (const name of [".security.yml", "config.json"]) {
      await writeFile(join(files.outside, name), "sk-secret");
    }
    const keys = join(files.outside, "settings.txt");
    await writeFile(keys, "sk-secret");
    const tools = files.tools({
      permissions: { read: [files.outside], write: [files.outside] },
      configFile: keys,
    });
    for (const name of [".security.yml", "config.json", "settings.txt"]) {
      const path = join(files.outside, name);
      assert.match(await called(tools, "read_file", { path }), /^error: .* own state or keys$/);
    }
  });

  it("by a profile that grants the kernel's folders reads no process", async () => {
    await using files = await workspaceWithFiles();
    const tools = files.tools({ permissions: { read: ["/"], write: ["/"] } });
    for (const path of ["/proc/self/environ", "/proc/1/mem", "/dev/mem"]) {
      assert.match(await called(tools, "read_file", { path }), /^error: /, path);
    }
    const answer = await called(tools, "write_file", { path: "/sys/x", content: "x" });
    assert.match(answer, /^error: .* belongs to the system/);
  });
});

describe("a file of several names", () => {
  it("protects a file under its other names, and no other file", async () => {
    await using files = await workspaceWithFiles();
    const { workspace, outside } = files;
    const [configFile, key] = [join(outside, "settings.json"), join(outside, "key.pem")];
    const secrets = [configFile, key, join(outside, ".security.yml")];
    await Promise.all(secrets.map((path) => writeFile(path, "the secret")));
    secrets.push(
      ...["state", "sessions", "memory/clients"].map((name) => join(workspace, name, "a.txt")),
    );
    await Promise.all(
      secrets.map((path, index) => link(path, join(workspace, `data/other${index}`))),
    );
    await link(join(workspace, "data/a.txt"), join(workspace, "data/object"));
    const tools = files.tools({ configFile, secretFiles: [key] });
    const refused = /^error: .*another name of a file with this program's own state or keys/;
    for (const [index, path] of secrets.entries()) {
      const before = await readFile(path, "utf8");
      const name = `data/other${index}`;
      assert.match(await called(tools, "read_file", { path: name }), refused, path);
      const append = { path: name, content: "more" };
      assert.match(await called(tools, "append_file", append), refused, path);
      const edit = { path: name, old_text: before, new_text: "changed" };
      assert.match(await called(tools, "edit_file", edit), refused, path);
      await called(tools, "write_file", { path: name, content: "mine" });
      assert.equal(await readFile(path, "utf8"), before);
    }
    assert.match(await called(tools, "read_file", { path: "data/object" }), /in data/);
    const change = { path: "data/object", old_text: "in data", new_text: "changed" };
    assert.match(await called(tools, "edit_file", change), /^changed/);
  });
});
