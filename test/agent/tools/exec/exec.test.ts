import assert from "node:assert/strict";
import { mkdir, readdir, readFile, realpath, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  createExcerpt,
  readable,
  createRingBuffer,
} from "../../../../src/agent/tools/exec/output.ts";
import { callContext } from "../../../support/agent-config.ts";
import { codePoint } from "../../../support/code-point.ts";
import { createCommands, isAlive } from "../../../support/commands.ts";
import { until } from "../../../support/until.ts";

// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** The numbers that a command wrote into a file of the workspace, once there are so many. */
async function numbersIn(file: string, count: number): Promise<number[]> {
  let numbers: number[] = [];
  await until(`${count} numbers in ${file}`, async () => {
    const text = await readFile(file, "utf8").catch(() => "");
    numbers = text.split("\n").slice(0, -1).map(Number);
    return numbers.length >= count;
  });
  return numbers;
}

async function allGone(pids: readonly number[]): Promise<boolean> {
  return (await Promise.all(pids.map(isAlive))).every((alive) => !alive);
}

describe("a command", () => {
  it("runs in the workspace and returns both outputs and how it ended", async () => {
    await using commands = await createCommands();
    const { call, workspace } = commands;
    assert.equal(await call({ command: "pwd" }), `${await realpath(workspace)}\n[exit code 0]`);
    assert.equal(
      await call({ action: null, command: "echo a; echo b >&2; exit 3" }).then((text) =>
        text.split("\n").toSorted().join(),
      ),
      "[exit code 3],a,b",
    );
    assert.equal(await call({ command: "true" }), "(no output)\n[exit code 0]");
    assert.equal(await call({ command: "kill -SEGV $$" }), "(no output)\n[ended by SIGSEGV]");
    assert.match(await call({ command: "no-such-program-here" }), /not found\n\[exit code 127\]$/);
    assert.equal(
      await call({ command: "printf '\\303\\050\\n\\033[31mred\\033[0m\\a'" }),
      "\ufffd(\nred\n[exit code 0]",
    );
  });

  it("runs in a folder that is named, which must be in the workspace", async () => {
    await using commands = await createCommands({}, { restrict: true });
    const { call, workspace } = commands;
    await mkdir(join(workspace, "sub"));
    await mkdir(join(workspace, "state"));
    await symlink("/etc", join(workspace, "etc"));
    await writeFile(join(workspace, "file"), "");
    assert.match(await call({ command: "pwd", cwd: "sub" }), /\/sub\n\[exit code 0\]$/);
    assert.match(await call({ command: "pwd", cwd: join(workspace, "sub") }), /\/sub\n/);
    for (const cwd of ["..", "/", "etc", "sub/../..", "state", "\0"]) {
      assert.match(await call({ command: "pwd", cwd }), /^error: /);
    }
    for (const cwd of ["missing", "file"]) {
      assert.equal(await call({ command: "pwd", cwd }), "error: cwd is not an existing folder");
    }
  });

  it("is refused by the policy, in the words that skills know", async () => {
    await using commands = await createCommands({ enable_deny_patterns: true }, { restrict: true });
    const { call, workspace } = commands;
    const blocked = "error: Command blocked by safety guard";
    assert.equal(
      await call({ command: "rm -rf x" }),
      `${blocked} (dangerous pattern detected): recursive or forced deletion`,
    );
    assert.equal(await call({ command: "cat ../x" }), `${blocked} (path traversal detected)`);
    assert.equal(
      await call({ command: "cat /etc/passwd" }),
      `${blocked} (path outside working dir)`,
    );
    assert.match(await call({ command: `ls ${workspace}` }), /exit code 0/);
    assert.match(await call({}), /^error: there is no command/);
    assert.match(await call({ command: "a\0b" }), /^error: .*NUL/);
    assert.match(
      await call({ command: "x".repeat(10_001) }),
      /^error: wrong arguments: command: too long/,
    );
  });

  it("is not run for a channel where that is switched off", async () => {
    await using commands = await createCommands({ allow_remote: false });
    const facts = { ...callContext(), isRemote: true };
    for (const action of ["run", "list"]) {
      const text = await commands.tool.run({ action, command: "touch x" }, facts);
      assert.match(text, /^error: .*own machine/);
    }
    assert.match(await commands.call({ command: "ls" }), /^\(no output\)/);
  });

  it("gets an environment without settings and secrets", async () => {
    const values: Readonly<Record<string, string>> = {
      PATH: "/usr/bin:/bin",
      LANG: "C.UTF-8",
      LC_ALL: "C",
      HOME: "/h",
    };
    await using commands = await createCommands(
      {},
      {
        variable: (name) =>
          values[name] ?? (/^(PATH|LANG|HOME|TERM|LC_|T|U|S|LO|C)/.test(name) ? undefined : "leak"),
      },
    );
    const text = await commands.call({ command: "env | cut -d= -f1 | sort" });
    assert.match(
      text,
      /^COMMAND_ID\nHOME\nLANG\nLC_ALL\n(OLDPWD\n)?PATH\nPWD\n(SHLVL\n)?TERM\n(_\n)?\[exit/m,
    );
    assert.match(await commands.call({ command: "echo $TERM $HOME" }), /^dumb \/h\n/);
  });

  it("that reads its input finds none, and does not wait", async () => {
    await using commands = await createCommands();
    assert.equal(await commands.call({ command: "cat; read x; echo $?" }), "1\n[exit code 0]");
  });

  it("that writes without end is ended at its time, in bounded memory", async () => {
    await using commands = await createCommands({ timeout_seconds: 1 });
    const before = process.memoryUsage().rss;
    const began = performance.now();
    const text = await commands.call({ command: "yes" });
    assert.ok(performance.now() - began < 20_000);
    assert.match(text, /^error: not done within 1 s and ended; its output until then:\ny\ny\n/);
    assert.match(
      text,
      /\n… \(the middle is left out: \d+ bytes in all\) …\ny\n[^]*\ny\n\[ended by SIGTERM\]$/,
    );
    assert.ok(text.length < 10_000);
    assert.ok(process.memoryUsage().rss - before < 200e6);
  });

  it("that writes 100 MB returns the beginning and the end", async () => {
    await using commands = await createCommands();
    const text = await commands.call({
      command: "echo first; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo last",
    });
    assert.match(
      text,
      /^first\nx+\n… \(the middle is left out: 100000012 bytes in all\) …\nx+\nlast\n\[exit code 0\]$/,
    );
    assert.ok(text.length < 10_000);
  });

  it("can take less time than is allowed, and never more", async () => {
    await using commands = await createCommands({ timeout_seconds: 1 });
    assert.match(
      await commands.call({ command: "sleep 60", timeout: 0.1 }),
      /^error: not done within 0\.1 s/,
    );
    assert.match(
      await commands.call({ command: "sleep 60", timeout: 50 }),
      /^error: not done within 1 s/,
    );
  });
});

describe("the end of a command", () => {
  it("is the end of all that it left running, also of what left its group", async () => {
    await using commands = await createCommands();
    const { call, workspace } = commands;
    const text = await call({
      command:
        "sleep 600 & echo $! > pids; setsid sh -c 'echo $$ >> pids; exec sleep 600' & while [ ! -s pids ] || [ $(wc -l < pids) -lt 2 ]; do sleep 0.01; done",
    });
    assert.match(text, /\[exit code 0; processes that it left running were ended, use background/);
    const pids = await numbersIn(join(workspace, "pids"), 2);
    assert.ok(await allGone(pids));
  });

  it("is the end of what it left running while one program replaces another", async () => {
    await using commands = await createCommands();
    const { call, workspace } = commands;
    await writeFile(join(workspace, "again"), "#!/bin/sh\nexec ./again\n", { mode: 0o700 });
    const count = 12;
    await call({
      command: `for i in $(seq ${count}); do setsid sh -c 'echo $$ >> pids; exec ./again' & done; while [ ! -s pids ] || [ $(wc -l < pids) -lt ${count} ]; do sleep 0.01; done`,
    });
    assert.ok(await allGone(await numbersIn(join(workspace, "pids"), count)));
  });

  it("comes soon after an abort, though it and its children do not listen", async () => {
    await using commands = await createCommands();
    const { tool, workspace } = commands;
    const stop = new AbortController();
    const deaf = "trap '' TERM INT HUP; echo $$ >> pids;";
    const command = `${deaf} (${deaf} while :; do sleep 1; done) & setsid sh -c "${deaf.replaceAll("$", "\\$")} while :; do sleep 1; done" & while :; do sleep 1; done`;
    const result = tool.run({ command }, callContext(stop.signal));
    const pids = await numbersIn(join(workspace, "pids"), 3);
    const began = performance.now();
    stop.abort();
    assert.match(await result, /\[ended by SIGKILL\]/);
    assert.ok(await allGone(pids));
    assert.ok(performance.now() - began < 20_000);
  });

  it("leaves no dead behind, however many commands there were", async () => {
    await using commands = await createCommands();
    for (let count = 0; count < 50; count += 1) {
      await commands.call({ command: count % 10 === 0 ? "sleep 30 & true" : "true" });
    }
    const stats = await Promise.all(
      (await readdir("/proc"))
        .filter((name) => /^\d+$/.test(name))
        .map((name) => readFile(`/proc/${name}/stat`, "utf8").catch(() => "")),
    );
    const dead = stats.filter((stat) => {
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return state === "Z" && Number(parent) === process.pid;
    });
    assert.deepEqual(dead, []);
  });

  it("comes with the close of the tool, after which none is run", async () => {
    await using commands = await createCommands();
    const { call, workspace } = commands;
    const result = call({ command: "echo $$ > pids; sleep 600" });
    const pids = await numbersIn(join(workspace, "pids"), 1);
    await commands.close();
    assert.ok(await allGone(pids));
    assert.match(await result, /\[ended by SIGTERM\]/);
    assert.equal(await call({ command: "true" }), "error: no more commands are run");
  });
});

describe("output", () => {
  it("is text without what a terminal would obey, its last line where one was rewritten", () => {
    const written =
      "1%\r50%\r100%\r\ndone\r\n\u001b]0;title\u0007a\u001b[1;31mb\u001b[0m\u001bMc\b\u202e\td\u001b[3";
    assert.equal(readable(bytesOf(written)), "100%\ndone\nabc\td");
    const text = fc.string({ unit: codePoint });
    fc.assert(fc.property(text, (any) => !CONTROL.test(readable(bytesOf(any)))));
  });

  it("is shown whole if it is short enough, in whatever pieces it arrives", () => {
    const pieces = fc.array(
      fc.string({ maxLength: 2000, unit: fc.constantFrom("a", "é", "\n", "😀") }),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(pieces, fc.integer({ min: 1, max: 7000 }), (texts, size) => {
        const text = texts.join("");
        const excerpt = createExcerpt();
        const bytes = bytesOf(text);
        for (let from = 0; from < bytes.length; from += size)
          excerpt.push(bytes.subarray(from, from + size));
        const shown = excerpt.text();
        if (text.length <= 9500) assert.equal(shown, text);
        else assert.match(shown, /… \(the middle is left out: \d+ (bytes|characters) in all\) …/);
        assert.ok(shown.length < 9700 && shown.isWellFormed());
      }),
      { numRuns: 50 },
    );
  });

  it("that is not read in time loses its beginning, and the loss is counted", () => {
    const step = fc.oneof(fc.uint8Array({ maxLength: 90 }), fc.nat(60));
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 50 }),
        (steps, capacity) => {
          const ring = createRingBuffer(capacity);
          let waiting: number[] = [];
          let lost = 0;
          for (const next of steps) {
            if (typeof next === "number") {
              const taken = ring.take(next);
              assert.deepEqual([[...taken.bytes], taken.lost], [waiting.slice(0, next), lost]);
              waiting = waiting.slice(next);
              lost = 0;
            } else {
              ring.push(next);
              const all = [...waiting, ...next];
              waiting = all.slice(Math.max(0, all.length - capacity));
              lost += all.length - waiting.length;
            }
            assert.equal(ring.size(), waiting.length);
          }
        },
      ),
    );
  });
});
