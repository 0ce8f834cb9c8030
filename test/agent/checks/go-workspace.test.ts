import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { goWorkspaceChecks } from "../../../src/agent/checks.ts";
import { temporaryFolder } from "../../support/temporary.ts";

async function checksOf(files: Readonly<Record<string, string>>): Promise<string[]> {
  await using folder = await temporaryFolder();
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder.path, name), text);
  const checks = await goWorkspaceChecks(folder.path);
  assert.ok(checks.every(({ result }) => result === "warn"));
  return checks.map(({ message }) => message);
}

describe("what a Go workspace adds and is not built here", () => {
  it("is one warning each", async () => {
    assert.deepEqual(
      await checksOf({
        "AGENT.md": "---\nname: Claw\nmodel: gpt\n---\nBe kind.",
      }),
      ["model of AGENT.md has no effect here"],
    );
  });

  it("is nothing where nothing is asked for, or nothing can be read", async () => {
    assert.deepEqual(await goWorkspaceChecks("/nowhere/at/all"), []);
    assert.deepEqual(
      await checksOf({
        "AGENT.md": "---\nname: Claw\ntools: [device]\nmcpServers: [fs]\n---\nmodel: gpt",
      }),
      [],
    );
  });
});
