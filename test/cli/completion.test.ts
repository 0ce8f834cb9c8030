import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { COMMANDS } from "../../src/cli/args/commands.ts";
import { bashCompletion } from "../../src/cli/commands/completion.ts";
import { fishCompletion } from "../../src/cli/commands/completion.ts";
import { zshCompletion } from "../../src/cli/commands/completion.ts";
import { picoclaw } from "./picoclaw.ts";

const run = promisify(execFile);
const SCRIPTS = { bash: bashCompletion(), zsh: zshCompletion(), fish: fishCompletion() };

/** What bash offers after these words; the last one is the one being typed. */
async function offered(...words: readonly string[]): Promise<string[]> {
  const ask = `
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _picoclaw
    (( \${#COMPREPLY[@]} )) && printf '%s\\n' "\${COMPREPLY[@]}"; true`;
  const args = ["--norc", "-c", `${SCRIPTS.bash}${ask}`, "bash", "picoclaw", ...words];
  const { stdout } = await run("bash", args);
  return stdout.split("\n").filter((line) => line !== "");
}

async function hasShell(shell: string): Promise<boolean> {
  return run(shell, ["-c", "true"]).then(
    () => true,
    () => false,
  );
}

const shells = ["bash", "zsh", "fish"] as const;
for (const shell of shells) {
  describe(`completion for ${shell}`, () => {
    it("is what the command prints", async () => {
      assert.deepEqual(await picoclaw(["completion", shell]), {
        code: 0,
        stdout: SCRIPTS[shell],
        stderr: "",
      });
    });

    it("is a script that the shell understands", async (test) => {
      if (!(await hasShell(shell))) return test.skip(`there is no ${shell} here`);
      await run(shell, ["-n", "-c", SCRIPTS[shell]]);
    });

    it("knows every command and every flag that is shown, and no hidden one", () => {
      for (const { name, flags } of COMMANDS) {
        assert.match(SCRIPTS[shell], new RegExp(`\\b${name}\\b`));
        for (const flag of flags) {
          const hidden = flag === "allow-empty" || flag === "no-truncate";
          const spelled = shell === "fish" ? `-l ${flag} ` : `--${flag}`;
          assert.equal(SCRIPTS[shell].includes(spelled), !hidden, spelled);
        }
      }
    });
  });
}

describe("bash offers", () => {
  it("commands first", async () => {
    assert.deepEqual(await offered("s"), ["send", "status", "sessions", "store", "service"]);
    assert.equal((await offered("")).length, COMMANDS.length);
    assert.deepEqual(await offered("--debug", "ga"), ["gateway"]);
  });

  it("the flags of the command, also by its alias", async () => {
    assert.deepEqual(await offered("send", "kitchen", "--no-"), [
      "--no-wait",
      "--no-stream",
      "--no-color",
    ]);
    assert.deepEqual(await offered("g", "--dr"), ["--drain"]);
    assert.deepEqual(await offered("listen", "--dr"), []);
    assert.deepEqual(await offered("--vers"), ["--version"]);
  });

  it("the values of a flag, with a space or =", async () => {
    assert.deepEqual(await offered("send", "--mqtt", ""), ["auto", "5", "4"]);
    assert.deepEqual(await offered("listen", "--only", "=", "resp"), ["responses"]);
    assert.deepEqual(await offered("listen", "--only", "="), ["requests", "responses"]);
    assert.deepEqual(await offered("send", "--broker", ""), []);
  });

  it("shells and topics as arguments, and nothing after --", async () => {
    assert.deepEqual(await offered("completion", ""), ["bash", "zsh", "fish"]);
    assert.deepEqual(await offered("sessions", ""), ["list", "show", "export", "delete"]);
    assert.deepEqual(await offered("help", "exit"), ["exit-codes"]);
    assert.deepEqual(await offered("send", "c", "--", "--no"), []);
  });
});
