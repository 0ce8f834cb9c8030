import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, readdir, readFile, realpath, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { isProtected, refusalOf } from "../../../../src/agent/tools/files/bounds.ts";
import { signalGroup } from "../../../../src/base/host.ts";
import { toolSettings } from "../../../support/agent-config.ts";
import { codePoint } from "../../../support/code-point.ts";
import { called, createTestWorkspace } from "../../../support/file-tools.ts";
import type { TestWorkspace } from "../../../support/file-tools.ts";
import { until } from "../../../support/until.ts";

/** 22 bytes, as nothing that the tools write. */
const THEIRS = "TREASURE-OF-THE-OTHERS";
const OURS = "mark-of-the-tools";
const MARKED = "kept-inside.txt";

/** Links of every kind that lead out, and some that stay. */
async function layTraps({ workspace, outside }: TestWorkspace): Promise<void> {
  await writeFile(join(outside, "secret.txt"), THEIRS);
  await mkdir(join(outside, "folder"));
  await writeFile(join(outside, "folder", MARKED), THEIRS);
  await mkdir(join(workspace, "in"));
  await mkdir(join(workspace, "state"));
  await writeFile(join(workspace, "state/picoclaw.db"), THEIRS);
  await writeFile(join(workspace, "config.json"), THEIRS);
  await writeFile(join(workspace, ".security.yml"), THEIRS);
  await writeFile(join(workspace, "in/.security.yml"), THEIRS);
  const links: Readonly<Record<string, string>> = {
    file: join(outside, "secret.txt"),
    folder: outside,
    up: "..",
    "in/up": "../../outside",
    root: "/",
    self: "/proc/self/cwd",
    procroot: "/proc/self/root",
    chain: "chain2",
    chain2: "in/up/folder",
    dangling: join(outside, "new.txt"),
    "in/dangling": "../../outside/new-folder",
    loop: "loop",
    loop2: "in/loop",
    "in/loop": "../loop2",
    st: "state",
    cfg: "config.json",
  };
  for (const [name, target] of Object.entries(links)) await symlink(target, join(workspace, name));
}

/** Everything in a folder, with what it holds and when it was changed. */
async function printOf(folder: string): Promise<string> {
  const names = await readdir(folder, { recursive: true });
  const lines = names.toSorted().map(async (name) => {
    const { mtimeMs, mode, ino } = await stat(join(folder, name));
    const text = await readFile(join(folder, name), "utf8").catch(() => "");
    return [name, mtimeMs, mode, ino, text].join("|");
  });
  return (await Promise.all(lines)).join("\n");
}

const CALLS: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
  ["read_file", {}],
  ["list_dir", {}],
  ["edit_file", { old_text: THEIRS, new_text: OURS }],
  ["append_file", { content: OURS }],
  ["write_file", { content: OURS, overwrite: true }],
];

/** Names that are there, and names that some file system or some decoding could take for others. */
const NAMES = [
  "file folder up in root self procroot chain chain2 dangling loop loop2 st cfg new secret.txt",
  "outside workspace state config.json .security.yml picoclaw.db .. .. .. . ~ %2e%2e ..%2f ..\\..",
  "\uff0e\uff0e \u2025 STATE State \uff53tate Config.json config.json. .SECURITY.YML \0 ..\0 \u202e",
  "\u200b e\u0301 \u00e9 \ud800 \n \t",
].flatMap((line) => line.split(" "));

/** Paths as an attacker would put them together, of true names, tricks and noise. */
function paths({ workspace, outside }: TestWorkspace): fc.Arbitrary<string> {
  const names = [...NAMES, "", MARKED, "x".repeat(300)];
  const segment = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...names) },
    { weight: 1, arbitrary: fc.string({ unit: codePoint, maxLength: 5 }) },
  );
  const roots = ["proc/self/root", "proc/thread-self/root", "proc/self/cwd/../../../../../.."];
  const start = fc.oneof(
    fc.constant(""),
    fc.constantFrom("/", workspace, `${workspace}/..`, `${workspace}x`, outside),
    fc.constantFrom(...roots.map((root) => `/${root}${outside}`)),
    fc.constantFrom("file:///", "//", "\\\\", "C:\\"),
  );
  const separator = fc.constantFrom("/", "/", "/", "//", "/./", "\u2215", "\uff0f", "\\");
  return fc
    .tuple(start, fc.array(segment, { maxLength: 7 }), separator)
    .map(([first, rest, between]) => [...(first === "" ? [] : [first]), ...rest].join(between));
}

describe("the file tools in their workspace", () => {
  it("touch nothing outside and nothing of the program's own, whatever the path", async () => {
    await using files = await createTestWorkspace();
    await layTraps(files);
    const tools = files.tools();
    const state = join(files.workspace, "state");
    const before = [await printOf(files.outside), await printOf(state)];
    let answered = 0;
    await fc.assert(
      fc.asyncProperty(paths(files), async (path) => {
        for (const [name, input] of CALLS) {
          const result = await called(tools, name, { ...input, path });
          assert.doesNotMatch(
            result,
            /TREASURE|(secret|inside)\.txt  22|\.db  22|folder  proc\/|tool failed/,
          );
          if (!result.startsWith("error")) answered += 1;
        }
      }),
      { numRuns: 700 },
    );
    assert.ok(answered > 100, `only ${answered} calls were not refused`);
    assert.deepEqual([await printOf(files.outside), await printOf(state)], before);
    for (const name of ["config.json", ".security.yml", "in/.security.yml"]) {
      assert.equal(await readFile(join(files.workspace, name), "utf8"), THEIRS);
    }
  });

  it("say nothing of what lies outside, not even whether it is there", async () => {
    await using files = await createTestWorkspace();
    await layTraps(files);
    const tools = files.tools();
    for (const path of [
      "folder/secret.txt",
      "folder/missing",
      "folder/secret.txt/x",
      "in/up/a/b",
    ]) {
      for (const [name, input] of CALLS) {
        const result = await called(tools, name, { ...input, path });
        assert.equal(result, `error: ${path} is outside of the workspace`);
      }
    }
  });

  it("follow links that stay inside, and take every name as it is written", async () => {
    await using files = await createTestWorkspace();
    await mkdir(join(files.workspace, "real"));
    await symlink("real", join(files.workspace, "link"));
    await symlink(join(files.workspace, "link"), join(files.workspace, "chain"));
    const tools = files.tools();
    const names = [
      "chain/a.txt",
      "~",
      "~root",
      "e\u0301",
      "\u00e9",
      "\uff0e\uff0e",
      "..a",
      "-rf",
      "a\\b",
      " ",
    ];
    for (const path of names) {
      assert.match(await called(tools, "write_file", { path, content: path }), /^wrote/);
      assert.ok((await called(tools, "read_file", { path })).endsWith(`\n${path}`));
    }
    assert.equal(await readFile(join(files.workspace, "real/a.txt"), "utf8"), "chain/a.txt");
    assert.equal(await readFile(join(files.workspace, "~"), "utf8"), "~");
    assert.match(
      await called(tools, "edit_file", { path: "link/a.txt", old_text: "a.", new_text: "b." }),
      /^changed/,
    );
    assert.equal(await readFile(join(files.workspace, "real/a.txt"), "utf8"), "chain/b.txt");
  });

  it("read and write where a pattern allows it, by the real path alone", async () => {
    await using files = await createTestWorkspace();
    await layTraps(files);
    await symlink(files.outside, join(files.workspace, "allowed"));
    const folder = join(files.outside, "folder");
    const settings = toolSettings({
      allow_read_paths: [`^${folder}/`, "/allowed/"],
      allow_write_paths: [`^${folder}/w`],
    });
    const tools = files.tools({ settings });
    const read = (path: string) => called(tools, "read_file", { path });
    assert.match(await read(join(folder, MARKED)), /TREASURE/);
    assert.match(await read(`chain/${MARKED}`), /TREASURE/);
    assert.match(await read("allowed/secret.txt"), /outside of the workspace/);
    assert.match(
      await called(tools, "write_file", { path: `chain/${MARKED}`, content: "" }),
      /outside of the workspace/,
    );
    assert.match(
      await called(tools, "write_file", { path: `${folder}/w/x`, content: "w" }),
      /^wrote/,
    );
    assert.match(
      await called(tools, "write_file", { path: `${folder}/../x`, content: "w" }),
      /outside of the workspace/,
    );
  });

  it("may read anywhere where that is set, but neither devices, nor processes, nor keys", async () => {
    await using files = await createTestWorkspace();
    await layTraps(files);
    await writeFile(join(files.outside, "config.json"), THEIRS);
    for (const options of [{ readOutside: true }, { restrict: false }]) {
      const tools = files.tools(options);
      const read = (path: string) => called(tools, "read_file", { path });
      assert.match(await read("file"), /TREASURE/);
      assert.match(await read("/proc/version"), /^\[\/proc\/version: all \d+ bytes\]\nLinux/);
      for (const path of [
        "self/environ",
        "self/mem",
        "thread-self/environ",
        "1/environ",
        "kcore",
        "self/fd/0",
      ]) {
        assert.match(await read(`/proc/${path}`), /^error: .*(devices and processes|outside)/);
      }
      assert.match(await read("/dev/zero"), /devices/);
      assert.match(await read("../outside/config.json"), /own state or keys/);
      assert.match(await read("state/picoclaw.db"), /own state or keys/);
      const wrote = await called(tools, "append_file", { path: "folder/n.txt", content: "x" });
      assert.match(wrote, "restrict" in options ? /^added/ : /outside of the workspace/);
      assert.match(
        await called(tools, "write_file", { path: "/proc/sys/x", content: "x" }),
        /^error: .*devices/,
      );
    }
  });
});

const OURS_AT = { workspace: "/w", keyFiles: ["/w/keys/mine.json"] };

describe("what is the program's own", () => {
  it("is protected under every spelling that some file system takes for the same", () => {
    for (const name of [
      "state",
      "STATE/a",
      "state./a",
      "Sessions/sk_v1_61e7.jsonl",
      "config.json",
      ".picoclaw/Config.JSON",
      "keys/Mine.json",
      "x/.security.yml ",
      "config.json::$DATA",
      "\u200b.security.yml",
      "\uff43onfig.json",
    ]) {
      assert.equal(isProtected(`/w/${name}`, OURS_AT), true, name);
    }
    for (const name of [
      "a/state",
      "a/sessions",
      "states",
      "config.json5",
      "project/config.json",
      "keys/mine.json5",
      "security.yml",
      "my.config.json",
      ".picoclaw",
    ]) {
      assert.equal(isProtected(`/w/${name}`, OURS_AT), false, name);
    }
  });

  it("is the configuration that was loaded, under whatever name and through whatever link", async () => {
    await using files = await createTestWorkspace();
    const file = join(files.outside, "mine.json");
    await writeFile(file, THEIRS);
    await symlink(file, join(files.outside, "link.json"));
    const tools = files.tools({
      readOutside: true,
      configFile: join(files.outside, "link.json"),
    });
    for (const path of ["../outside/mine.json", "../outside/link.json"]) {
      assert.match(await called(tools, "read_file", { path }), /own state or keys/);
    }
    await mkdir(join(files.workspace, "project"));
    const path = "project/config.json";
    assert.match(
      await called(tools, "write_file", { path, content: "{}" }),
      /^wrote|^Wrote|written/,
    );
  });

  it("is every file that a secret of the configuration lies in", async () => {
    await using files = await createTestWorkspace();
    const file = join(files.outside, "broker-password");
    await writeFile(file, THEIRS);
    const tools = files.tools({ readOutside: true, secretFiles: [file] });
    const path = "../outside/broker-password";
    assert.match(await called(tools, "read_file", { path }), /own state or keys/);
    const without = files.tools({ readOutside: true });
    assert.match(await called(without, "read_file", { path }), new RegExp(THEIRS));
  });

  it("is no matter of how a path begins", () => {
    const bounds = {
      workspace: "/w",
      restrict: true,
      readOutside: false,
      allowRead: [],
      allowWrite: [],
      keyFiles: [],
    };
    for (const real of ["/w2/a", "/", "/w/../x", "/v"])
      assert.ok(refusalOf(real, "read", bounds), real);
    for (const real of ["/w", "/w/a", "/w/..a", "/w/.../a"])
      assert.equal(refusalOf(real, "write", bounds), undefined);
  });
});

/** Swaps a folder and a file of the workspace for links that lead out, and back, as fast as it can. */
const RACER = `
while :; do
  rm -rf d f; ln -s "$1/folder" d; ln -s "$1/secret.txt" f
  rm -f d f; mkdir d; echo inside > d/${MARKED}; echo inside > f
  mv d e; ln -s "$1/folder" d; rm -f d; mv e d
done 2>/dev/null
`;

/** What is seen when the race is met from both sides. */
const BOTH_SIDES = ["outside", "read_file", "append_file", "write_file"];

describe("a race", () => {
  it("of links that come and go while reads and writes go on is never lost", async () => {
    await using files = await createTestWorkspace();
    await layTraps(files);
    assert.equal(await realpath(files.outside), files.outside);
    const before = await printOf(files.outside);
    const racer = spawn("sh", ["-c", RACER, "sh", files.outside], {
      cwd: files.workspace,
      stdio: "ignore",
      detached: true,
    });
    const group = racer.pid ?? assert.fail("the racer did not start");
    const tools = files.tools();
    const seen = new Set<string>();
    try {
      const isMet = (): boolean => BOTH_SIDES.every((side) => seen.has(side));
      for (let turn = 0; turn < 2_000 || (turn < 100_000 && !isMet()); turn += 1) {
        const [name, input] = CALLS[turn % CALLS.length] ?? ["", {}];
        const path = ["f", `d/${MARKED}`, "d/new/n", "d"][turn % 4];
        const result = await called(tools, name, { ...input, path });
        assert.doesNotMatch(result, /TREASURE|secret\.txt/);
        const refusal = /^error: .*(outside|replaced|symbolic|exist)/.exec(result)?.[1];
        seen.add(result.startsWith("error: ") ? (refusal ?? "") : name);
      }
    } finally {
      signalGroup(group, "SIGKILL");
      await until("the racer is gone with its children", () => !signalGroup(group, 0));
    }
    assert.equal(await printOf(files.outside), before);
    for (const side of BOTH_SIDES) assert.ok(seen.has(side), side);
  });
});
