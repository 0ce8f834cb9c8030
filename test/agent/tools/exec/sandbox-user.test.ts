import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import {
  chmod,
  chown,
  link,
  mkdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { findBubblewrap, sandboxArgs } from "../../../../src/agent/tools/exec/sandbox/sandbox.ts";
import { createCommands } from "../../../support/commands.ts";
import { ordinarySandboxArgs, withBubblewrap } from "../../../support/sandbox.ts";
import { temporaryFolder } from "../../../support/temporary.ts";

const BWRAP = { sandbox: "bwrap" } as const;
const ROOT = {
  skip: process.getuid?.() === 0 ? false : "only root runs commands as somebody else",
};

/** It asks whether files can be written, and writes none: the settings are the machine's. */
const WALK = "find /proc /sys /dev ! -type l -writable 2> /dev/null; echo walked";
/** A process's own files, and devices that keep nothing. */
const OWN =
  /^\/proc\/\d+(?:\/|$)|^\/dev\/(?:null|zero|full|random|urandom|tty|ptmx|shm|pts(?:\/(?:ptmx|\d+))?)$/;

function assertNothingWritable(text: string): void {
  const lines = text.split("\n");
  assert.ok(lines.includes("walked"), text);
  assert.ok(lines.includes("/dev/null"), "what can be written is found");
  const left = lines.filter((line) => line.startsWith("/") && !OWN.test(line));
  assert.deepEqual(left, []);
}

describe("the kernel's settings", await withBubblewrap(), () => {
  for (const allow_network of [false, true]) {
    it(`cannot be written in a sandbox ${allow_network ? "with" : "without"} network`, async () => {
      await using commands = await createCommands({ ...BWRAP, allow_network });
      assertNothingWritable(await commands.call({ command: WALK }));
    });
  }

  it("cannot be written in the sandbox of an ordinary user", ROOT, async () => {
    await using folder = await temporaryFolder();
    await chown(folder.path, 65_534, 65_534);
    const [program = "", ...sandbox] = await ordinarySandboxArgs(await realpath(folder.path));
    const text = await new Promise<string>((resolve) => {
      const words = [...sandbox, "/bin/sh", "-c", WALK];
      execFile(program, words, { cwd: folder.path }, (_, stdout, stderr) =>
        resolve(`${stdout}${stderr}`),
      );
    });
    assertNothingWritable(text);
  });
});

const CANARIES = [
  "/usr/local/etc/x.key",
  "/usr/local/lib/x.key",
  "/opt/a/b/c/key",
  "/srv/a/b/key",
  "/var/lib/a/b/key",
  "/var/www/x.key",
  "/var/log/a/b/c/key",
  "/etc/a/b/c/d/key",
  "/etc/x.key",
  "/x.key",
].map((path) => path.replace(/^(.*\/)(a\/|x\.)/, `$1picoclaw-test-${process.pid}-$2`));

describe("a command of a gateway that is root", await withBubblewrap(), () => {
  it("is another user's, who is nobody here and gets no rights back", ROOT, async () => {
    await using commands = await createCommands(BWRAP);
    const text = await commands.call({
      command: "id -u; id -G; grep -c ':65533:' /etc/passwd; grep ^CapPrm /proc/self/status",
    });
    const [id, groups, names, rights] = text.split("\n");
    assert.notEqual(id, "0");
    assert.equal(groups, id);
    assert.equal(names, "0");
    assert.match(rights ?? "", /0{16}$/);
  });

  it("gets that user from a program with the capabilities for this alone", ROOT, async () => {
    await using folder = await temporaryFolder();
    const setpriv = join(folder.path, "setpriv");
    await writeFile(setpriv, "#!/bin/sh\ngrep ^CapEff /proc/self/status\n", { mode: 0o755 });
    const found = await findBubblewrap("/usr/bin:/bin");
    assert.ok("program" in found);
    const mounts = [
      { path: "/proc", as: "system" },
      { path: "/dev", as: "system" },
    ] as const;
    const [program = "", ...words] = sandboxArgs(
      { ...found, user: { id: 65_533, setpriv } },
      mounts,
      false,
    );
    const text = await new Promise<string>((resolve) => {
      execFile(program, words, (_, stdout, stderr) => resolve(`${stdout}${stderr}`));
    });
    // capabilities(7): DAC_READ_SEARCH is 2, SETGID 6, SETUID 7, SETPCAP 8.
    const bits = [2, 6, 7, 8].reduce((sum, bit) => sum + 2 ** bit, 0);
    assert.equal(Number.parseInt(/CapEff:\s*(\w+)/.exec(text)?.[1] ?? text, 16), bits, text);
  });

  it("reads none of what only root may read, wherever it lies", ROOT, async () => {
    const made: string[] = [];
    try {
      for (const path of CANARIES) {
        const first = await mkdir(dirname(path), { recursive: true });
        made.push(first ?? path);
        await writeFile(path, "canary\n", { mode: 0o600 });
      }
      await using commands = await createCommands(BWRAP);
      const files = [...CANARIES, "/var/cache/debconf/passwords.dat", "/etc/shadow"];
      const read = `for f in ${files.join(" ")}; do cat $f && echo "READ $f"; done 2>&1`;
      assert.doesNotMatch(await commands.call({ command: read }), /canary|READ/);
    } finally {
      await Promise.all(made.map((path) => rm(path, { recursive: true })));
    }
  });

  it(
    "reads and changes what the gateway made in the workspace, and the other way round",
    ROOT,
    async () => {
      await using commands = await createCommands(BWRAP);
      const { workspace, call } = commands;
      await mkdir(join(workspace, "notes"), { mode: 0o700 });
      await writeFile(join(workspace, "notes/a"), "of root\n", { mode: 0o600 });
      const first = await call({ command: "cat notes/a; echo more >> notes/a; echo b > notes/b" });
      assert.equal(first, "of root\n[exit code 0]");
      assert.equal(await readFile(join(workspace, "notes/a"), "utf8"), "of root\nmore\n");
      await writeFile(join(workspace, "notes/b"), "of root again\n");
      await writeFile(join(workspace, "notes/c"), "new\n", { mode: 0o600 });
      assert.equal(
        await call({ command: "cat notes/b notes/c" }),
        "of root again\nnew\n[exit code 0]",
      );
    },
  );

  it("works in a workspace that lies in folders of root's alone", ROOT, async () => {
    await using folder = await temporaryFolder();
    const path = `/srv/picoclaw-test-${process.pid}`;
    const workspace = join(path, "workspace");
    try {
      await mkdir(workspace, { recursive: true });
      await chmod(path, 0o700);
      await writeFile(join(path, "key"), "canary\n");
      await using commands = await createCommands(BWRAP, { workspace });
      const command = `echo a > a; cat a; cat ${path}/key; ls ${path} ${folder.path}; true`;
      const text = await commands.call({ command });
      assert.match(text, /^a\n/);
      assert.doesNotMatch(text, /canary/);
    } finally {
      await rm(path, { recursive: true });
    }
  });

  it(
    "gets nothing by links that lead out of the workspace, nor what has another name",
    ROOT,
    async () => {
      await using folder = await temporaryFolder();
      const [outer, workspace] = [join(folder.path, "outer"), join(folder.path, "workspace")];
      await Promise.all([mkdir(outer), mkdir(join(workspace, "state"), { recursive: true })]);
      await writeFile(join(outer, "key"), "canary\n", { mode: 0o600 });
      await writeFile(join(workspace, "state/db"), "canary\n", { mode: 0o600 });

      await symlink(outer, join(workspace, "folder"));
      await link(join(outer, "key"), join(workspace, "second"));
      await using commands = await createCommands(BWRAP, { workspace });
      const text = await commands.call({ command: "cat folder/key second state/db; true" });
      assert.doesNotMatch(text, /canary/);
      for (const path of [outer, join(outer, "key"), join(workspace, "state/db")]) {
        assert.equal((await stat(path)).uid, 0, path);
      }
    },
  );
});
