import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import {
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  realpath,
  symlink,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { FULL_ACCESS } from "../../../../src/agent/access/permissions.ts";
import type { FilePermissions } from "../../../../src/agent/access/permissions.ts";
import type { CallContext } from "../../../../src/agent/tools/contract.ts";
import { limitArgs } from "../../../../src/agent/tools/exec/environment.ts";
import {
  clientsAreSandboxed,
  commandCheck,
  rootCheck,
} from "../../../../src/agent/tools/exec/sandbox/check.ts";
import { runTool } from "../../../../src/agent/tools/run.ts";
import type { ExecSettings } from "../../../../src/config/contract.ts";
import { agentDefaults, callContext, toolSettings } from "../../../support/agent-config.ts";
import { createCommands, isAlive } from "../../../support/commands.ts";
import type { Commands } from "../../../support/commands.ts";
import { processesRunning } from "../../../support/processes.ts";
import { ordinarySandboxArgs, withBubblewrap } from "../../../support/sandbox.ts";
import { temporaryFolder } from "../../../support/temporary.ts";
import { until } from "../../../support/until.ts";
import { answerWith, openWebServer } from "../../../support/web-server.ts";

const BWRAP = { sandbox: "bwrap" } as const;
const RUN = process.versions["deno"] !== undefined ? ["run", "-A", "--no-check", "--quiet"] : [];
const isRoot = process.getuid?.() === 0;

/** Gives a folder to whoever commands run as: what is root's and no workspace stays root's. */
async function giveTo({ call }: Commands, folder: string): Promise<void> {
  const id = Number.parseInt(await call({ command: "id -u" }), 10);
  await chown(folder, id, id);
}

const runFor = ({ tool, workspace }: Commands, command: string, call: CallContext) =>
  runTool(
    { id: "1", name: "exec", arguments: JSON.stringify({ command, cwd: workspace }) },
    { tools: [tool], ...call },
  );

/** All processes that sleep under one of two names. */
async function sleepers(name: string): Promise<number[]> {
  const words = [`sleep 600.${name}`, `sleep 601.${name}`];
  return (await Promise.all(words.map(processesRunning))).flat();
}

const check = (settings: Partial<ExecSettings>, path: string) =>
  commandCheck(
    {
      agents: { defaults: agentDefaults() },
      tools: toolSettings({ exec: { ...toolSettings().exec, ...settings } }),
    },
    (name) => (name === "PATH" ? path : undefined),
  );

describe("a command in a sandbox", await withBubblewrap(), () => {
  it("works in the workspace as it would outside of one", async () => {
    await using commands = await createCommands(BWRAP);
    const { call, workspace } = commands;
    await mkdir(join(workspace, "sub"));
    const real = await realpath(workspace);
    assert.equal(await call({ command: "pwd", cwd: "sub" }), `${real}/sub\n[exit code 0]`);
    const text = await call({
      command:
        "echo a > a; for f in *; do [ -f $f ] && wc -c < $f; done; df -h . > /dev/null; date +%s > /dev/null; git --version > /dev/null; mktemp > /dev/null && echo ok",
    });
    assert.equal(text, "2\nok\n[exit code 0]");
    assert.equal(await readFile(join(workspace, "a"), "utf8"), "a\n");
    assert.match(
      await call({ command: "exit 3" }),
      /^\(no output\)\n\[exit code 3; .*sandbox.*\]$/,
    );
  });

  it("reads no configuration, no keys, no home and no conversation", async () => {
    await using folder = await temporaryFolder();
    const workspace = join(folder.path, "workspace");
    const hidden = ["config.json", ".security.yml", "workspace/state/picoclaw.db"];
    hidden.push("workspace/sessions/a.jsonl", "workspace/memory/clients/kitchen.md");
    await Promise.all(
      ["state", "sessions", "memory/clients"].map((name) =>
        mkdir(join(workspace, name), { recursive: true }),
      ),
    );
    await Promise.all(hidden.map((name) => writeFile(join(folder.path, name), "the secret")));
    const key = join(folder.path, "key.pem");
    await writeFile(key, "the secret");
    const configFile = join(folder.path, "config.json");
    await using commands = await createCommands(BWRAP, {
      workspace,
      configFile,
      secretFiles: [key],
    });
    for (const name of [...hidden, "key.pem"]) {
      const text = await commands.call({ command: `cat ${join(folder.path, name)}; true` });
      assert.match(text, /No such file|Permission denied/, name);
      assert.doesNotMatch(text, /the secret/, name);
    }
    const around = await commands.call({
      command: "ls -A ~ | grep -v -e cargo -e pyenv -e local; ls -A /run /home; true",
    });
    assert.doesNotMatch(around, /ssh|bash|docker|dbus|user/);
    if (isRoot) {
      const shadow = await commands.call({ command: "cat /etc/shadow" });
      assert.match(shadow, /Permission denied/);
    }
  });

  it("writes nowhere but in the workspace, and forges no conversation there", async () => {
    await using commands = await createCommands(BWRAP);
    const places = "/x /etc/x /usr/bin/x /var/x /dev/x /sys/x /home/x state/x sessions/x";
    const text = await commands.call({
      command: `for f in ${places}; do echo x > $f && echo "wrote $f"; done 2> /dev/null; rm -rf state sessions 2> /dev/null; mv state other 2> /dev/null; ls -d state sessions; true`,
    });
    assert.equal(text, "sessions\nstate\n[exit code 0]");
    assert.equal(
      await commands.call({ command: "echo a > /tmp/mine && echo b > ~/mine && cat /tmp/mine" }),
      "a\n[exit code 0]",
    );
    assert.match(await commands.call({ command: "cat /tmp/mine ~/mine" }), /No such file/);
  });

  it("reaches outside of the workspace what a profile opens, and changes no instructions without it", async () => {
    await using beside = await temporaryFolder();
    const [read, write] = [join(beside.path, "read"), join(beside.path, "write")];
    await using commands = await createCommands(
      { ...BWRAP, enable_deny_patterns: true },
      { restrict: true },
    );
    const { tool, workspace } = commands;
    await Promise.all([mkdir(read), mkdir(write), mkdir(join(workspace, "memory"))]);
    await writeFile(join(read, "a"), "of the profile\n");
    await giveTo(commands, write);
    await writeFile(join(workspace, "AGENT.md"), "the owner's words\n");
    const as = (files: FilePermissions) => (command: string) =>
      tool.run({ command }, { ...callContext(), permissions: { ...FULL_ACCESS, files } });
    const guest = as({ read: [read], write: [write, join(workspace, "state")] });
    assert.equal(await guest(`cat ${read}/a`), "of the profile\n[exit code 0]");
    assert.match(await guest(`echo a > ${read}/b`), /Read-only file system/);
    assert.match(await guest(`echo a > ${write}/b && cat ${write}/b`), /^a\n/);
    assert.match(await guest("echo obey me > AGENT.md"), /Read-only file system/);
    assert.match(await guest("mv AGENT.md x"), /busy/);
    assert.match(await guest("echo obey me > memory/MEMORY.md"), /Read-only file system/);
    assert.match(await guest("ls > state/x"), /own state/);
    // The policy lets it through; the sandbox holds it.
    assert.match(await guest("s=sta; ls > ${s}te/x"), /Permission denied/);
    assert.match(await guest("cd sta*; ls > x"), /Permission denied/);
    assert.match(await guest(`ls ${beside.path}`), /path outside working dir/);
    await guest("echo obey me > SOUL.md; mkdir skills/evil");
    assert.equal(await readFile(join(workspace, "SOUL.md"), "utf8"), "");
    assert.deepEqual(await readdir(join(workspace, "skills")), []);
    const around = as({ read: [], write: [workspace] });
    assert.match(await around("echo mine > AGENT.md"), /Read-only file system/);
    assert.match(await around("echo mine > memory/MEMORY.md"), /exit code 0/);
    const owner = as({ read: [], write: ["AGENT.md", "skills/a"].map((p) => join(workspace, p)) });
    await mkdir(join(workspace, "skills", "a"));
    assert.match(await owner("echo mine > AGENT.md && echo mine > skills/a/x"), /exit code 0/);
    assert.match(await owner("echo mine > skills/x"), /Read-only file system/);
  });

  it("opens nothing by a link in a workspace that is reached by a link itself", async () => {
    await using home = await temporaryFolder();
    const [real, linked, disk] = ["real", "linked", "disk"].map((name) => join(home.path, name));
    assert.ok(real !== undefined && linked !== undefined && disk !== undefined);
    await Promise.all([mkdir(real), mkdir(disk)]);
    await symlink(real, linked);
    await symlink(disk, join(real, "jobs"));
    await writeFile(join(real, "AGENT.md"), "the owner's words\n");
    await using commands = await createCommands(BWRAP, { workspace: linked });
    const as = (write: readonly string[]) => {
      const files = { read: [], write: write.map((name) => join(linked, name)) };
      const who = { ...callContext(), permissions: { ...FULL_ACCESS, files } };
      return (command: string) => commands.tool.run({ command }, who);
    };
    assert.match(await as(["jobs"])(`echo a > ${disk}/a`), /Read-only|nonexistent|No such file/);
    assert.deepEqual(await readdir(disk), []);
    assert.match(await as(["."])("echo mine > AGENT.md"), /Read-only/);
    assert.match(await as(["AGENT.md"])("echo mine > AGENT.md"), /exit code 0/);
  });

  it("reaches no network and no service of this machine unless that is allowed", async () => {
    await using neighbour = await openWebServer(answerWith("text/plain", "hello"));
    const command = `curl -s --max-time 5 ${neighbour.base}/`;
    await using closed = await createCommands(BWRAP);
    assert.match(await closed.call({ command }), /^\(no output\)\n\[exit code 7; .*no network/);
    await using open = await createCommands({ ...BWRAP, allow_network: true });
    assert.match(await open.call({ command }), /^hello\n\[exit code 0\]$/);
  });

  it("sees and can signal its own processes alone, and has no rights left to gain", async () => {
    await using commands = await createCommands(BWRAP);
    const text = await commands.call({
      command: `ls /proc | grep -c '^[0-9]'; kill -0 ${process.pid} 2>&1; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; unshare -Ur true 2>&1 | grep -c .; cat /proc/1/environ 2> /dev/null | tr '\\0' '\\n' | grep -c COMMAND_ID`,
    });
    const [processes, kill, ...rights] = text.split("\n").filter((line) => line !== "");
    assert.ok(Number(processes) < 8, text);
    assert.match(kill ?? "", /No such process/);
    const none = "0000000000000000";
    assert.deepEqual(
      rights.slice(0, 5).map((line) => line.replace(/\s+/g, " ")),
      [`CapEff: ${none}`, `CapBnd: ${none}`, "NoNewPrivs: 1", "1", "0"],
    );
  });

  it("has a terminal where it wants one, that leads to nobody else's", async () => {
    await using commands = await createCommands(BWRAP);
    const started = await commands.call({ command: "tty; echo $0", background: true, pty: true });
    const sessionId = /session_id: (\w+)/.exec(started)?.[1];
    await until("it ended", async () => {
      return (await commands.call({ action: "poll", session_id: sessionId })).includes(
        "exit code 0",
      );
    });
    assert.match(
      await commands.call({ action: "read", session_id: sessionId }),
      /^\/dev\/pts\/0\n/,
    );
  });

  it("is asked to end, then ended with all that left its group and its environment", async () => {
    await using commands = await createCommands(BWRAP);
    const { workspace, call } = commands;
    const name = `7${process.pid % 10_000}`;
    const started = await call({
      command: `trap 'echo bye > bye; exit' TERM; (env -i setsid sleep 600.${name} &) ; nohup sleep 601.${name} > /dev/null 2>&1 & echo up > up; while :; do sleep 0.05; done`,
      background: true,
    });
    const sessionId = /session_id: (\w+)/.exec(started)?.[1];
    await until("both run", async () => (await sleepers(name)).length === 2);
    await call({ action: "kill", session_id: sessionId });
    assert.equal(await readFile(join(workspace, "bye"), "utf8"), "bye\n");
    assert.deepEqual(await sleepers(name), []);
    await call({ command: `(env -i setsid sleep 600.${name} > /dev/null 2>&1 &); true` });
    await until("it is gone", async () => (await sleepers(name)).length === 0);
  });

  it("does not outlive the gateway, not even one that was killed", async () => {
    await using folder = await temporaryFolder();
    const name = `8${process.pid % 10_000}`;
    const command = `(env -i setsid sleep 600.${name} &); exec sleep 601.${name}`;
    const program = join(import.meta.dirname, "sandboxed-command.ts");
    const child = spawn(process.execPath, [...RUN, program, "hold", folder.path, command], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    await until("it runs", async () => (await sleepers(name)).length === 2);
    const before = await sleepers(name);
    child.kill("SIGKILL");
    await until("all of it is gone", async () => {
      const alive = await Promise.all(before.map(isAlive));
      return alive.every((one) => !one);
    });
  });

  it(
    "is the same for an ordinary user",
    { skip: isRoot ? false : "only root can be another" },
    async () => {
      await using folder = await temporaryFolder();
      await chown(folder.path, 65_534, 65_534);
      await chmod(folder.path, 0o700);
      const workspace = await realpath(folder.path);
      const [program = "", ...sandbox] = await ordinarySandboxArgs(workspace);
      const words = [
        ...sandbox,
        ...(await limitArgs(workspace)),
        "/bin/sh",
        "-c",
        // A fork bomb ends at its bound, and what could be started still ends.
        "id -u; for f in /x /dev/x; do echo x > $f && echo wrote $f; done; echo a > a; ls /home; bomb() { bomb | bomb & }; bomb 2> /dev/null; cat a",
      ];
      const options = { cwd: folder.path, timeout: 20_000 };
      const text = await new Promise<string>((resolve) => {
        execFile(program, words, options, (_, stdout, stderr) => resolve(`${stdout}${stderr}`));
      });
      assert.match(text, /^65534\n(a\n)?[^]*Read-only file system/);
      // This user owns the sandbox's /dev.
      assert.doesNotMatch(text, /wrote/);
    },
  );
});

describe("without bubblewrap", () => {
  it("and with it, a check warns of a program that is root", () => {
    assert.equal(rootCheck()?.result, isRoot ? "warn" : undefined);
  });

  it("a command runs without a sandbox and a check warns, or it does not run if it needs one", async () => {
    await using folder = await temporaryFolder();
    const path = `${folder.path}:/usr/nowhere`;
    const variable = (name: string) => (name === "PATH" ? path : undefined);
    await using free = await createCommands({ sandbox: "auto" }, { variable });
    assert.equal(await free.call({ command: "echo $0" }), "/bin/sh\n[exit code 0]");
    await using strict = await createCommands(BWRAP, { variable });
    const refused = await strict.call({ command: "echo a > a" });
    assert.match(
      refused,
      /^error: no command is run: tools\.exec\.sandbox is bwrap, and .*not installed/,
    );
    assert.deepEqual(await readdir(strict.workspace), []);
    const [warned, failed] = [await check({ sandbox: "auto" }, path), await check(BWRAP, path)];
    assert.deepEqual(
      [warned?.result, warned?.remedy, failed?.result],
      ["warn", "apt-get install bubblewrap", "fail"],
    );
  });

  it("no client runs a command unless the owner wants no sandbox; a local user does", async () => {
    await using folder = await temporaryFolder();
    const variable = (name: string) => (name === "PATH" ? folder.path : undefined);
    const remote = { ...callContext(), isRemote: true };
    await using auto = await createCommands({ sandbox: "auto" }, { variable });
    const command = "echo a > a";
    assert.match(
      await runFor(auto, command, remote),
      /^error: no command is run: commands of clients/,
    );
    assert.deepEqual(await readdir(auto.workspace), []);
    assert.match(await runFor(auto, command, callContext()), /exit code 0/);
    await using none = await createCommands({ sandbox: "none" }, { variable });
    assert.match(await runFor(none, command, remote), /exit code 0/);
    const isOffered = (exec: Partial<ExecSettings>) =>
      clientsAreSandboxed(
        {
          agents: { defaults: agentDefaults() },
          tools: toolSettings({ exec: { ...toolSettings().exec, allow_remote: true, ...exec } }),
        },
        variable,
      );
    assert.equal(await isOffered({ sandbox: "auto" }), false);
    assert.equal(await isOffered({ sandbox: "none" }), true);
    const warning = await check({ sandbox: "auto", allow_remote: true }, folder.path);
    assert.match(warning?.message ?? "", /MQTT clients may run none/);
    const open = await check({ sandbox: "none", allow_remote: true }, folder.path);
    assert.match(open?.message ?? "", /full access .* keys included/);
  });

  it("that works, none is pretended", async () => {
    await using folder = await temporaryFolder();
    const program = join(folder.path, "bwrap");
    await writeFile(program, "#!/bin/sh\necho setting up uid map: Permission denied >&2; exit 1\n");
    await chmod(program, 0o755);
    const found = await check(BWRAP, `${folder.path}:/usr/bin`);
    assert.equal(found?.result, "fail");
    assert.match(found?.message ?? "", /does not work here: setting up uid map: Permission denied/);
    const lax = await check({ sandbox: "auto" }, `${folder.path}:/usr/bin`);
    assert.equal(lax?.result, "warn");
  });

  it("a check warns of an owner who wants none if clients or root run commands", async () => {
    const open = await check({ sandbox: "none", allow_remote: true }, "/usr/bin");
    assert.deepEqual([open?.result, open?.remedy], ["warn", "set tools.exec.sandbox to auto"]);
    const own = await check({ sandbox: "none", allow_remote: false }, "/usr/bin");
    assert.equal(own?.result, isRoot ? "warn" : "ok");
    assert.equal(
      await commandCheck({
        agents: { defaults: agentDefaults() },
        tools: toolSettings({ off: new Set(["exec"]) }),
      }),
      undefined,
    );
  });
});
