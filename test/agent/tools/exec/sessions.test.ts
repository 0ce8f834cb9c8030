import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { keysOf } from "../../../../src/agent/tools/exec/input.ts";
import { createCommands, isAlive } from "../../../support/commands.ts";
import type { Commands } from "../../../support/commands.ts";
import { until } from "../../../support/until.ts";

/** Starts a command in the background; gives its id. */
async function started(
  { call }: Commands,
  input: Readonly<Record<string, unknown>>,
  client?: string,
): Promise<string> {
  const text = await call({ background: true, ...input }, client);
  const id = /^session_id: (\w{8})\n/.exec(text)?.[1];
  assert.ok(id !== undefined, text);
  return id;
}

/** Reads until what a session wrote in all matches. */
async function readUntil({ call }: Commands, sessionId: string, wanted: RegExp): Promise<string> {
  let text = "";
  await until(`output like ${wanted.source}`, async () => {
    const read = await call({ action: "read", session_id: sessionId });
    if (!read.startsWith("(nothing new)\n[running]")) text += read;
    return wanted.test(text);
  });
  return text;
}

async function pidIn({ workspace }: Commands, file: string): Promise<number> {
  let text = "";
  await until(`a process id in ${file}`, async () => {
    text = await readFile(join(workspace, file), "utf8").catch(() => "");
    return text.endsWith("\n");
  });
  return Number(text);
}

describe("a command in the background", () => {
  it("returns a session_id at once, and its output as it arrives", async () => {
    await using commands = await createCommands();
    const { call } = commands;
    const sessionId = await started(commands, { command: "echo one; read x; echo got $x; exit 4" });
    assert.match(await readUntil(commands, sessionId, /one/), /^one\n\n\[running\]$/);
    assert.equal(await call({ action: "read", session_id: sessionId }), "(nothing new)\n[running]");
    // The name that the argument had before.
    assert.equal(await call({ action: "read", sessionId }), "(nothing new)\n[running]");
    assert.match(
      await call({ action: "poll", session_id: sessionId }),
      /^\w{8} {2}running for \d+ s, 0 bytes to read: echo one;/,
    );
    assert.match(
      await call({ action: "write", session_id: sessionId, data: "two\n" }),
      /^wrote 4 characters/,
    );
    assert.match(
      await readUntil(commands, sessionId, /exit code/),
      /got two\n[^]*\[exit code 4\]$/,
    );
    assert.match(await call({ action: "list" }), /^\w{8} {2}done \[exit code 4\], 0 bytes to read/);
    assert.equal(
      await call({ action: "write", session_id: sessionId, data: "x" }),
      `error: ${sessionId} has already ended`,
    );
  });

  it("is killed with all that it started", async () => {
    await using commands = await createCommands();
    const sessionId = await started(commands, {
      command:
        "(trap '' TERM; echo $$ > a; while :; do sleep 1; done) & setsid sh -c 'echo $PPID > b; exec sleep 600'; wait",
    });
    const pids = [await pidIn(commands, "a"), await pidIn(commands, "b")];
    assert.match(
      await commands.call({ action: "kill", session_id: sessionId }),
      /is done \[ended by SIG/,
    );
    for (const pid of pids) assert.equal(await isAlive(pid), false);
  });

  it("belongs to the client that started it", async () => {
    await using commands = await createCommands();
    const { call } = commands;
    const sessionId = await started(commands, { command: "sleep 600" }, "alice");
    for (const action of ["poll", "read", "write", "kill", "send-keys"]) {
      assert.equal(
        await call({ action, session_id: sessionId, data: "x", keys: "Enter" }, "bob"),
        "error: no session has this session_id",
      );
    }
    assert.equal(await call({ action: "list" }, "bob"), "(no sessions)");
    assert.match(await call({ action: "list" }, "alice"), /running/);
  });

  it("is one of eight of a client, of 32 in all, of which those that ended give way", async () => {
    await using commands = await createCommands();
    const { call } = commands;
    const ended = await started(commands, { command: "true" }, "c0");
    await until("the first has ended", async () =>
      (await call({ action: "poll", session_id: ended }, "c0")).includes("done"),
    );
    for (let count = 0; count < 32; count += 1) {
      await started(commands, { command: "sleep 600" }, `c${Math.floor(count / 8)}`);
    }
    assert.match(
      await call({ background: true, command: "true" }, "c1"),
      /^error: 8 sessions of yours already run/,
    );
    assert.match(
      await call({ background: true, command: "true" }, "c9"),
      /^error: 32 sessions already run/,
    );
    const list = await call({ action: "list" }, "c0");
    assert.equal(list.split("\n").length, 8);
    assert.ok(!list.includes(ended));
  });

  it("is forgotten half an hour after its end", async () => {
    let time = 0;
    await using commands = await createCommands({}, { now: () => time });
    const { call } = commands;
    const sessionId = await started(commands, { command: "true" });
    await until("it has ended", async () =>
      (await call({ action: "poll", session_id: sessionId })).includes("done"),
    );
    time = 30 * 60_000 - 1;
    assert.match(await call({ action: "poll", session_id: sessionId }), /done/);
    time += 1;
    assert.match(await call({ action: "poll", session_id: sessionId }), /^error: no session has/);
  });

  it("that writes more than is read loses the oldest of it, and says so", async () => {
    await using commands = await createCommands();
    const { call } = commands;
    const sessionId = await started(commands, {
      command: "head -c 3000000 /dev/zero | tr '\\0' x; printf end",
    });
    await until("it has ended", async () =>
      (await call({ action: "poll", session_id: sessionId })).includes("done"),
    );
    const first = await call({ action: "read", session_id: sessionId });
    assert.match(
      first,
      /^\(1951427 bytes before were not read in time\)\nx{9500}\n\[1039076 bytes more: read again\]\n\[exit code 0\]$/,
    );
    let last = first;
    for (let reads = 0; last.includes("read again"); reads += 1) {
      assert.ok(reads < 200);
      last = await call({ action: "read", session_id: sessionId });
    }
    assert.match(last, /xend\n\[exit code 0\]$/);
  });

  it("is read without a character, a line or a secret cut in two", async () => {
    await using commands = await createCommands();
    const { call } = commands;
    const long = `i=0; while [ $i -lt 9000 ]; do printf 'zü€😀'; i=$((i+1)); done`;
    const lines = `i=0; while [ $i -lt 4000 ]; do echo "€ line $i"; i=$((i+1)); done`;
    const sessionId = await started(commands, { command: `${long}; echo; ${lines}` });
    const pieces: string[] = [];
    await until("the end of it", async () => {
      const read = await call({ action: "read", session_id: sessionId });
      pieces.push(
        read.replace(/^\(nothing new\)|\n(?:\[\d+ bytes more: read again\]\n)?\[[^\]]*\]$/g, ""),
      );
      return read.endsWith("[exit code 0]") && !read.includes("more: read again");
    });
    assert.ok(pieces.length > 5);
    const expected = Array.from({ length: 4000 }, (_, index) => `€ line ${index}\n`).join("");
    assert.equal(pieces.join(""), `${"zü€😀".repeat(9000)}\n${expected}`);
  });

  it("is read but for the beginning of a character, until its rest has come", async () => {
    await using commands = await createCommands();
    const { call } = commands;
    const sessionId = await started(commands, {
      command: String.raw`printf 'a\342\202'; read x; printf '\254b'`,
    });
    assert.equal(await readUntil(commands, sessionId, /a/), "a\n[running]");
    await call({ action: "write", session_id: sessionId, data: "\n" });
    assert.match(await readUntil(commands, sessionId, /exit code/), /^€b\n/);
  });

  it("ends with the tool", async () => {
    await using commands = await createCommands();
    await started(commands, { command: "trap '' TERM; echo $$ > a; while :; do sleep 1; done" });
    const pid = await pidIn(commands, "a");
    await commands.close();
    assert.equal(await isAlive(pid), false);
  });

  it("gets nothing written that could not be run, not even in pieces", async () => {
    await using commands = await createCommands({ enable_deny_patterns: true }, { restrict: true });
    const { call } = commands;
    const sessionId = await started(commands, { command: "sh" });
    const write = (data: string) => call({ action: "write", session_id: sessionId, data });
    assert.match(await write("echo ok\nrm "), /^wrote/);
    assert.match(await write("-rf x\n"), /^error: Command blocked by safety guard \(dangerous/);
    assert.match(await write("\ncat /etc/passwd\n"), /outside working dir/);
    assert.match(await write(""), /^error: there is nothing to write/);
    await readUntil(commands, sessionId, /ok/);
  });
});

describe("a command with a terminal", () => {
  it("sees one, and gets keys", async () => {
    await using commands = await createCommands();
    const { call } = commands;
    assert.match(
      await call({ pty: true, command: "test -t 1 && echo terminal; exit 3" }),
      /^terminal\n\[exit code 3\]$/,
    );
    assert.match(await call({ command: "test -t 1 || echo none" }), /^none\n/);
    const sessionId = await started(commands, {
      pty: true,
      command: "trap 'echo interrupted; exit 0' INT; echo ready; while :; do sleep 0.05; done",
    });
    await readUntil(commands, sessionId, /ready/);
    assert.match(
      await call({ action: "send-keys", session_id: sessionId, keys: "Hyper" }),
      /^error: there is no key "Hyper"; keys are Enter/,
    );
    assert.match(
      await call({ action: "send-keys", session_id: sessionId, keys: "C-c" }),
      /^wrote 1 characters/,
    );
    assert.match(await readUntil(commands, sessionId, /\[exit code/), /interrupted/);
  });

  it("is killed with all that runs in it", async () => {
    await using commands = await createCommands();
    const sessionId = await started(commands, {
      pty: true,
      command: "trap '' TERM HUP; echo $$ > a; while :; do sleep 1; done",
    });
    const pid = await pidIn(commands, "a");
    await commands.call({ action: "kill", session_id: sessionId });
    assert.equal(await isAlive(pid), false);
  });
});

describe("keys", () => {
  it("have the names that programs and people use", () => {
    assert.deepEqual(keysOf("Up, up  Enter"), { text: "\u001b[A\u001b[A\r", unknown: [] });
    assert.deepEqual(keysOf("C-c ctrl-d ^Z Ctrl+[ C-@"), {
      text: "\u0003\u0004\u001a\u001b\0",
      unknown: [],
    });
    assert.deepEqual(keysOf("page-up F1 nonsense C-é"), {
      text: "\u001b[5~\u001bOP",
      unknown: ["nonsense", "C-é"],
    });
    assert.deepEqual(keysOf(""), { text: "", unknown: [] });
  });
});
