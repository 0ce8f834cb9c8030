import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { stripVTControlCharacters } from "node:util";

const root = join(import.meta.dirname, "../../../..");
const suite = join(root, "node_modules/@modelcontextprotocol/conformance/dist/index.js");
const client = join(root, "test/support/mcp-conformance.ts");

/** The suite needs a newer node than the program does; this runtime runs it as well. */
const runner = "deno" in process.versions ? ["run", "-A", "--quiet"] : [];

/**
 * What the suite asks of a client, but for what is not offered here: elicitation (a person's input), and OAuth.
 */
describe("the conformance suite of the protocol", () => {
  for (const scenario of ["initialize", "tools_call", "sse-retry"]) {
    it(scenario, async () => {
      const command = [process.execPath, ...runner, client].join(" ");
      const args = [...runner, suite, "client", "--scenario", scenario, "--command", command];
      const { text, code } = await new Promise<{ text: string; code: number }>((resolve) => {
        execFile(
          process.execPath,
          args,
          { cwd: root, timeout: 60_000 },
          (error, stdout, stderr) => {
            resolve({
              text: stripVTControlCharacters(stdout + stderr),
              code: error === null ? 0 : 1,
            });
          },
        );
      });
      assert.equal(code, 0, text);
      assert.match(text, /Passed: (\d)\/\1, 0 failed, 0 warnings/);
    });
  }
});
