import assert from "node:assert/strict";
import {
  chmod,
  mkdir,
  open,
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
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { createCommands } from "../../../support/commands.ts";
import { running } from "../../../support/processes.ts";
import { withBubblewrap } from "../../../support/sandbox.ts";
import { temporaryFolder } from "../../../support/temporary.ts";
import { until } from "../../../support/until.ts";

/** What programs do at their start because a variable says so. */
const POISON: Readonly<Record<string, string>> = {
  ENV: "start.sh",
  BASH_ENV: "start.sh",
  SHELLOPTS: "xtrace",
  PS4: "$(touch poisoned)",
  PROMPT_COMMAND: "touch poisoned",
  IFS: "a",
  CDPATH: "/",
  LD_PRELOAD: "/nowhere/evil.so",
  LD_LIBRARY_PATH: "/nowhere",
  LD_AUDIT: "/nowhere/evil.so",
  GIT_SSH_COMMAND: "touch poisoned",
  GIT_EXTERNAL_DIFF: "touch poisoned",
  GIT_CONFIG_COUNT: "1",
  GIT_CONFIG_KEY_0: "core.pager",
  GIT_CONFIG_VALUE_0: "touch poisoned",
  GIT_PAGER: "touch poisoned",
  PAGER: "touch poisoned",
  EDITOR: "touch poisoned",
  NODE_OPTIONS: "--require=./start.js",
  PYTHONSTARTUP: "start.py",
  PYTHONPATH: ".",
  PERL5OPT: "-Mevil",
  RUBYOPT: "-revil",
  BUN_OPTIONS: "--preload=./start.ts",
  BUN_BE_BUN: "1",
  DENO_DIR: "/nowhere",
  PICOCLAW_HOME: "/nowhere",
  PICOCLAW_CHANNELS_MQTT_PASSWORD: "hunter2hunter2",
  OPENAI_API_KEY: "sk-hunter2hunter2",
  CREDENTIALS_DIRECTORY: "/nowhere/credentials",
  NOTIFY_SOCKET: "/nowhere/notify",
  DBUS_SESSION_BUS_ADDRESS: "unix:path=/nowhere/bus",
  SSH_AUTH_SOCK: "/nowhere/agent",
};

const bubblewrap = await withBubblewrap();

for (const sandbox of ["none", "bwrap"] as const) {
  const options = sandbox === "none" ? {} : bubblewrap;
  describe(`a command with sandbox ${sandbox}`, options, () => {
    it("gets no variable that makes programs do something at their start", async () => {
      await using home = await temporaryFolder();
      const known: Readonly<Record<string, string>> = {
        ...POISON,
        HOME: home.path,
        SHELL: join(home.path, "evil-shell"),
        PATH: "/usr/bin:/bin",
      };
      const touch = "touch poisoned\n";
      for (const name of [".profile", ".bashrc", ".bash_profile", ".shrc", ".kshrc", ".zshenv"]) {
        await writeFile(join(home.path, name), `cd ${home.path}; ${touch}`);
      }
      await writeFile(join(home.path, "evil-shell"), `#!/bin/sh\n${touch}`);
      await chmod(join(home.path, "evil-shell"), 0o755);
      await using commands = await createCommands({ sandbox }, { variable: (name) => known[name] });
      const { call, workspace } = commands;
      await writeFile(join(workspace, "start.sh"), touch);
      const text = await call({ command: "env; sh -c true; bash -c true; git --version" });
      for (const name of Object.keys(POISON)) {
        assert.doesNotMatch(text, new RegExp(`^${name}=`, "m"), name);
      }
      assert.doesNotMatch(text, /hunter2|nowhere/);
      await call({ command: "true", pty: true, background: true });
      await call({ command: "true", pty: true });
      for (const folder of [workspace, home.path]) {
        await assert.rejects(readFile(join(folder, "poisoned")), /ENOENT/);
      }
    });

    it("runs no program that lies where a command could have put it", async () => {
      await using first = await createCommands();
      const bin = join(first.workspace, "bin");
      await mkdir(bin);
      await writeFile(join(bin, "ls"), "#!/bin/sh\necho planted\n");
      await writeFile(join(first.workspace, "ls"), "#!/bin/sh\necho planted\n");
      await chmod(join(bin, "ls"), 0o755);
      await chmod(join(first.workspace, "ls"), 0o755);
      const path = `.:${bin}::bin:${first.workspace}:/usr/bin:/bin`;
      await using commands = await createCommands(
        { sandbox },
        {
          workspace: first.workspace,
          variable: (name) => (name === "PATH" ? path : undefined),
        },
      );
      assert.doesNotMatch(await commands.call({ command: "ls" }), /planted/);
      assert.match(await commands.call({ command: "echo $PATH" }), /^\/usr\/bin:\/bin\n/);
    });

    it("inherits no open file, database or socket", async () => {
      await using folder = await temporaryFolder();
      const key = await open(join(folder.path, "key"), "w+");
      const database = new DatabaseSync(join(folder.path, "base.db"));
      database.exec("create table secret (text)");
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      try {
        await using commands = await createCommands({ sandbox });
        const text = await commands.call({
          command: "for f in /proc/$$/fd/*; do readlink $f; done",
        });
        const files = text.split("\n").slice(0, -1);
        const others = files.slice(3).filter((file) => !file.startsWith("pipe:"));
        assert.deepEqual(others, [], text);
        assert.equal(files[0], "/dev/null");
        for (const output of files.slice(1)) assert.match(output, /^(socket|pipe):/);
      } finally {
        await key.close();
        database.close();
        server.close();
      }
    });

    it("cannot take the machine: its files, memory, open files and processes are bounded", async () => {
      await using commands = await createCommands({ sandbox });
      const { call, workspace } = commands;
      const limits = await call({
        command: "cat /proc/self/limits /proc/self/oom_score_adj; umask",
      });
      const bound = (name: string): number =>
        Number(new RegExp(`^Max ${name} +(\\d+)`, "m").exec(limits)?.[1] ?? Number.NaN);
      assert.equal(bound("file size"), 2 ** 30);
      assert.equal(bound("core file size"), 0);
      assert.equal(bound("open files"), 1024);
      assert.ok(bound("data size") >= 2 ** 26);
      assert.ok(bound("processes") >= 256);
      assert.match(limits, /^500$/m);
      assert.match(limits, /^0?[0-7][2367][2367]$/m);
      const large = await call({ command: "truncate -s 1073741825 large; echo $?" });
      assert.doesNotMatch(large, /^0$/m);
      const core = await call({
        command: "ulimit -c unlimited; ulimit -n 4096; sh -c 'kill -SEGV $$'; ls",
      });
      assert.doesNotMatch(core, /^core/m);
      await assert.rejects(readFile(join(workspace, "core")), /ENOENT/);
    });

    it("leaves nothing running, however it left its group and its parent", async () => {
      await using commands = await createCommands({ sandbox });
      const seconds = `60${sandbox.length}.${process.pid}`;
      await commands.call({
        command: `nohup sleep ${seconds} > /dev/null 2>&1 & setsid sleep ${seconds} & (setsid sh -c '(sleep ${seconds} &) &' &); sh -c '(trap "" HUP TERM; exec sleep ${seconds}) & exec 1>&- 2>&-' & sleep 0.1`,
      });
      await until("none sleeps", async () => (await running(`sleep ${seconds}`)) === 0);
    });

    it("runs in the folder that was looked at, however fast that is replaced", async () => {
      await using outside = await temporaryFolder();
      await mkdir(join(outside.path, "deep"));
      await writeFile(join(outside.path, "secret"), "the secret");
      await using commands = await createCommands({ sandbox }, { restrict: true });
      const workspace = await realpath(commands.workspace);
      const [folder, away] = [join(workspace, "sub"), join(workspace, "away")];
      await mkdir(folder);
      const over = new AbortController();
      const swapping = (async () => {
        for (let round = 0; !over.signal.aborted; round += 1) {
          await rename(folder, away);
          await symlink(outside.path, folder);
          await new Promise((resolve) => setTimeout(resolve, round % 3));
          await rm(folder);
          await rename(away, folder);
          // Sometimes long enough for a command to start, often not.
          await new Promise((resolve) => setTimeout(resolve, (round * 7) % 50));
        }
      })();
      const run = (): Promise<string> =>
        commands.call({ command: "echo in; cat secret", cwd: "sub" });
      for (let count = 0; count < 60; count += 1) {
        assert.doesNotMatch(await run(), /the secret/);
      }
      over.abort();
      await swapping;
      assert.match(await run(), /^in$/m);
    });
  });
}
