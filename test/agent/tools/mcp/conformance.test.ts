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
 * What the suite asks of a client, but for what is not offered here: elicitation (a person's input) and tokens of an
 * identity provider. Its server for clients of 2025-03-26 names itself wrongly, which is refused.
 */
const AUTH = [
  "metadata-default",
  "metadata-var1",
  "metadata-var2",
  "metadata-var3",
  "basic-cimd",
  "scope-from-www-authenticate",
  "scope-from-scopes-supported",
  "scope-omitted-when-undefined",
  "scope-step-up",
  "scope-retry-limit",
  "token-endpoint-auth-basic",
  "token-endpoint-auth-post",
  "token-endpoint-auth-none",
  "pre-registration",
  "2025-03-26-oauth-endpoint-fallback",
  "resource-mismatch",
  "offline-access-scope",
  "offline-access-not-supported",
  "client-credentials-jwt",
  "client-credentials-basic",
];

describe("the conformance suite of the protocol", () => {
  const others = AUTH.map((name) => `auth/${name}`);
  for (const scenario of ["initialize", "tools_call", "sse-retry", ...others]) {
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
      assert.match(text, /Passed: (\d+)\/\1, 0 failed, 0 warnings/);
    });
  }
});
