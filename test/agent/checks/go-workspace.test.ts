import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { goWorkspaceChecks } from "../../../src/agent/checks.ts";
import { temporaryFolder } from "../../support/temporary.ts";

async function checksOf(files: Readonly<Record<string, string>>): Promise<string[]> {
  await using folder = await temporaryFolder();
  await mkdir(join(folder.path, "cron"));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder.path, name), text);
  const checks = await goWorkspaceChecks(folder.path);
  assert.ok(checks.every(({ result }) => result === "warn"));
  return checks.map(({ message }) => message);
}

describe("what a Go workspace adds and is not built here", () => {
  it("is one warning each", async () => {
    const jobs = [{ id: "1", enabled: true }, { id: "2", enabled: false }, { id: "3" }];
    assert.deepEqual(
      await checksOf({
        "AGENT.md": "---\nname: Claw\nmodel: gpt\nmcpServers: [fs]\n---\nBe kind.",
        "cron/jobs.json": JSON.stringify({ version: 1, jobs }),
        "HEARTBEAT.md": "# look at the disk\n",
      }),
      [
        "model of AGENT.md has no effect here",
        "mcpServers of AGENT.md has no effect here",
        "cron/jobs.json (2 enabled) has no effect here",
        "HEARTBEAT.md has no effect here",
      ],
    );
  });

  it("is nothing where nothing is asked for, or nothing can be read", async () => {
    assert.deepEqual(await goWorkspaceChecks("/nowhere/at/all"), []);
    assert.deepEqual(
      await checksOf({
        "AGENT.md": "---\nname: Claw\ntools: [device]\n---\nmodel: gpt",
        "cron/jobs.json": '{"version": 1, "jobs": [{"enabled": false}]}',
        "HEARTBEAT.md": "\n",
      }),
      [],
    );
    assert.deepEqual(await checksOf({ "cron/jobs.json": "{nonsense" }), []);
  });
});
