import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openWorkspace } from "../../src/agent/workspace/workspace.ts";
import { SILENT } from "../../src/base/log.ts";
import { gatewayNameOf, openAgentCluster } from "../../src/cli/runtime/agent-cluster.ts";
import { agentDefaults } from "../support/agent-config.ts";
import { QUIET_GATEWAY as GATEWAY } from "../support/channel.ts";
import { createNoteTable } from "../support/note-table.ts";
import { temporaryFolder } from "../support/temporary.ts";

describe("the agents of a cluster", () => {
  it("share the notes that a home had in its files before, once", async () => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, "memory"));
    await writeFile(join(folder.path, "memory/MEMORY.md"), "- GPIO 4\n");
    const notes = createNoteTable(() => 1);
    const config = {
      gateway: { ...GATEWAY, name: "kitchen" },
      agents: { defaults: agentDefaults({ workspace: folder.path }) },
    };
    const own = openWorkspace({
      folder: folder.path,
      home: folder.path,
      now: () => new Date(),
      log: SILENT,
    });
    for (const start of [1, 2]) {
      const cluster = await openAgentCluster({ config, notes, instanceId: "i", log: SILENT });
      assert.equal(cluster.gateway, "kitchen");
      const { memory } = await cluster.share(own).read();
      assert.equal(memory, start === 1 ? "- GPIO 4" : "");
      const { version = 0 } = (await notes.note("memory/MEMORY.md")) ?? {};
      await notes.writeNote("memory/MEMORY.md", "", version);
    }
  });

  it("are opened also while the notes cannot be taken over", async () => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, "memory/MEMORY.md"), { recursive: true });
    const config = {
      gateway: GATEWAY,
      agents: { defaults: agentDefaults({ workspace: folder.path }) },
    };
    const notes = createNoteTable(() => 1);
    const cluster = await openAgentCluster({ config, notes, instanceId: "i", log: SILENT });
    assert.equal(cluster.gateway, hostname());
    assert.deepEqual(await notes.notes("memory/imported"), []);
  });

  it("are named as their machines where nothing else is said", () => {
    for (const name of [undefined, ""])
      assert.equal(
        gatewayNameOf({ gateway: { ...GATEWAY, ...(name !== undefined && { name }) } }),
        hostname(),
      );
  });
});
