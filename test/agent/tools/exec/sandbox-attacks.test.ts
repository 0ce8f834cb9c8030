import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import {
  chmod,
  chown,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { FULL_ACCESS } from "../../../../src/agent/access/permissions.ts";
import type { FilePermissions } from "../../../../src/agent/access/permissions.ts";
import { sandboxFor } from "../../../../src/agent/tools/exec/sandbox/sandbox.ts";
import { callContext } from "../../../support/agent-config.ts";
import { createCommands } from "../../../support/commands.ts";
import { withBubblewrap } from "../../../support/sandbox.ts";
import { temporaryFolder } from "../../../support/temporary.ts";
import { until } from "../../../support/until.ts";

const BWRAP = { sandbox: "bwrap" } as const;
const isRoot = process.getuid?.() === 0;

/** A folder that the sandbox does not hide anyway, as temporary ones are. */
async function openFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp("/srv/picoclaw-test-");
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

describe("a command in a sandbox", await withBubblewrap(), () => {
  it("moves no folder away to find what was hidden in it", async () => {
    await using folder = await temporaryFolder();
    const { path: workspace } = folder;
    await mkdir(join(workspace, "memory/clients"), { recursive: true });
    await mkdir(join(workspace, "a/b/keys"), { recursive: true });
    await writeFile(join(workspace, "memory/clients/kitchen.md"), "the secret");
    const secretFiles = ["key.pem", "old.pem"].map((name) => join(workspace, "a/b/keys", name));
    await Promise.all(secretFiles.map((file) => writeFile(file, "the secret")));
    await using commands = await createCommands(BWRAP, { workspace, secretFiles });
    for (const name of ["memory", "a", "a/b", "a/b/keys"]) {
      // Where it can be read, it is copied, without what is hidden.
      await commands.call({ command: `mv -T ${name} other` });
    }
    const text = await commands.call({ command: "grep -r secret . 2>&1; ls -R; true" });
    assert.doesNotMatch(text, /the secret/);
    for (const file of [...secretFiles, join(workspace, "memory/clients/kitchen.md")]) {
      assert.equal(await readFile(file, "utf8"), "the secret");
    }
  });

  it("reads nothing hidden by a second name (hard link), nor moves that name away", async () => {
    await using home = await temporaryFolder();
    await using beside = await temporaryFolder();
    const workspace = join(home.path, "workspace");
    const inside = ["state/picoclaw.db", "sessions/a/b.jsonl", "memory/clients/kitchen.md"];
    const hidden = [
      ...["config.json", ".security.yml", "secrets/key"].map((name) => join(home.path, name)),
      ...inside.map((name) => join(workspace, name)),
    ];
    await mkdir(join(workspace, "a/b"), { recursive: true });
    for (const [index, path] of hidden.entries()) {
      await mkdir(join(path, ".."), { recursive: true });
      await writeFile(path, "the secret\n", { mode: 0o644 });
      await link(path, join(workspace, "a/b", `${index}`));
      await link(path, join(beside.path, `${index}`));
    }
    await writeFile(join(workspace, "a/b/own"), "no secret\n");
    await link(join(workspace, "a/b/own"), join(workspace, "own"));
    const [configFile, , key = ""] = hidden;
    await using commands = await createCommands(BWRAP, {
      workspace,
      configFile,
      secretFiles: [key],
    });
    const permissions = { ...FULL_ACCESS, files: { read: [beside.path], write: [workspace] } };
    const text = await commands.tool.run(
      {
        command: `mv a c; mv a/b/0 e; cat own; ls a/b; grep -r . . ${beside.path}; true`,
      },
      { ...callContext(), permissions },
    );
    assert.match(text, /no secret/);
    assert.match(text, /^0\n1\n2\n3\n4\n5\nown$/m);
    assert.doesNotMatch(text, /the secret/);
    const names = await readdir(workspace);
    assert.deepEqual(names.toSorted(), ["a", "cron", "memory", "own", "sessions", "state"]);
  });

  it("replaces no folder of a new workspace that later commands hide or mount", async () => {
    await using commands = await createCommands(BWRAP);
    const text = await commands.call({
      command: "for f in memory memory/clients state sessions; do mv -T $f x; rmdir $f; done; ls",
    });
    assert.equal(text.match(/failed to remove/g)?.length, 4, text);
    assert.match(text, /^memory\nsessions\nstate$/m);
  });

  for (const name of ["state", "memory", "skills"]) {
    for (const by of ["a link", "another folder"]) {
      it(`does not run if ${name} was replaced by ${by} after its path was resolved`, async () => {
        await using home = await temporaryFolder();
        const [workspace, key] = [join(home.path, "a b\\c"), join(home.path, "key")];
        const path = join(workspace, name);
        await mkdir(join(workspace, "skills"), { recursive: true });
        await writeFile(key, "the secret", { mode: 0o644 });
        const sandbox = await sandboxFor({
          workspace: await realpath(workspace),
          settings: { sandbox: "bwrap", allow_network: false },
          secretFiles: [],
          path: "/usr/bin:/bin",
          isRemote: true,
          paths: { readable: [], writable: [], readOnly: [join(workspace, "skills")] },
        });
        const [program = "", ...words] = sandbox?.args ?? [];
        const run = () =>
          new Promise<string>((resolve) => {
            const command = [...words, "sh", "-c", `cat ${key}; echo ran`];
            execFile(program, command, (_, stdout, stderr) => resolve(`${stdout}${stderr}`));
          });
        assert.match(await run(), /^ran$/m);
        await rename(path, `${path}.old`);
        await (by === "a link" ? symlink("..", path) : mkdir(path));
        const text = await run();
        assert.doesNotMatch(text, /the secret/);
        // Another empty folder hides as well.
        if (by === "a link" || name !== "state") assert.doesNotMatch(text, /^ran$/m);
        if (by === "a link") assert.match(text, /was replaced just now; nothing was run/);
      });
    }
  }

  it("puts no link in the place of what a profile opens in what it opens", async () => {
    await using folder = await temporaryFolder();
    const [outer, prey] = [join(folder.path, "outer"), join(folder.path, "prey")];
    const inner = join(outer, "a/b");
    await Promise.all([mkdir(inner, { recursive: true }), mkdir(prey)]);
    await using commands = await createCommands(BWRAP);
    const files: FilePermissions = { read: [], write: [outer, inner] };
    const who = { ...callContext(), permissions: { ...FULL_ACCESS, files } };
    const run = (command: string) => commands.tool.run({ command }, who);
    const id = Number.parseInt(await commands.call({ command: "id -u" }), 10);
    await Promise.all([outer, join(outer, "a"), inner].map((path) => chown(path, id, id)));
    const made = await run(
      `mv ${outer}/a ${outer}/c && mkdir ${outer}/a && ln -s ${prey} ${inner}`,
    );
    assert.match(made, /busy/);
    await run(`echo a > ${prey}/a`);
    assert.deepEqual(await readdir(prey), []);
    assert.match(await run(`echo a > ${inner}/a && cat ${inner}/a`), /^a\n/);
  });

  it("that began before there was a memory of somebody sees none that comes", async () => {
    await using commands = await createCommands(BWRAP);
    const { workspace, call } = commands;
    await mkdir(join(workspace, "memory"));
    const command = "echo > up; until [ -e go ]; do sleep 0.05; done; grep -r secret memory; true";
    const started = await call({ command, background: true });
    const sessionId = /session_id: (\w+)/.exec(started)?.[1];
    await until("it runs", async () => existsSync(join(workspace, "up")));
    await mkdir(join(workspace, "memory/clients"), { recursive: true });
    await writeFile(join(workspace, "memory/clients/kitchen.md"), "the secret");
    await writeFile(join(workspace, "go"), "");
    await until("it ended", async () => {
      return (await call({ action: "poll", session_id: sessionId })).includes("exit code 0");
    });
    assert.doesNotMatch(await call({ action: "read", session_id: sessionId }), /the secret/);
  });

  it(
    "finds no service by a socket, wherever that lies",
    { skip: isRoot ? false : "only root can put one there" },
    async () => {
      await using folder = await openFolder();
      await chmod(folder.path, 0o755);
      const path = join(folder.path, "service.sock");
      const server = createServer((socket) => socket.end("hello"));
      await new Promise<void>((resolve) => server.listen(path, resolve));
      await chmod(path, 0o777);
      try {
        await using commands = await createCommands(BWRAP);
        const command = `curl -sS --max-time 5 --unix-socket ${path} http://a/`;
        assert.match(await commands.call({ command }), /exit code 7/);
      } finally {
        server.close();
      }
    },
  );

  it(
    "finds no service that takes datagrams by a socket either",
    { skip: isRoot ? false : "only root can put one there" },
    async (test) => {
      await using folder = await openFolder();
      await chmod(folder.path, 0o755);
      const path = join(folder.path, "datagrams.sock");
      const bind = `use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0); bind(S, pack_sockaddr_un("${path}")); chmod 0777, "${path}"; sleep 60`;
      const service = spawn("perl", ["-e", bind], { stdio: "ignore" });
      const missing = new Promise<boolean>((resolve) => service.once("error", () => resolve(true)));
      try {
        if (await Promise.race([missing, until("it is bound", async () => existsSync(path))])) {
          return test.skip("perl is not installed");
        }
        await using commands = await createCommands(BWRAP);
        const send = `use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0); print send(S, "hello", 0, pack_sockaddr_un("${path}")) ? "sent" : "refused"`;
        assert.match(await commands.call({ command: `perl -e '${send}'` }), /^refused\n/);
      } finally {
        service.kill("SIGKILL");
      }
    },
  );

  it(
    "reads nothing that only root reads, though it is root",
    { skip: isRoot ? false : "only root could" },
    async () => {
      await using commands = await createCommands(BWRAP);
      const text = await commands.call({
        command:
          "find /etc /opt /srv /var/log -maxdepth 2 ! -perm -004 -type f -size +0 -exec head -c1 {} + 2> /dev/null | wc -c",
      });
      assert.match(text, /^0\n/);
    },
  );
});
