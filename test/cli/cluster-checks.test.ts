import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { readInstructions } from "../../src/agent/workspace/instructions.ts";
import { clusterChecks } from "../../src/cli/checks/cluster.ts";
import type { ClusterGateway } from "../../src/store/contract/cluster.ts";
import { agentDefaults, toolSettings } from "../support/agent-config.ts";
import { QUIET_GATEWAY } from "../support/channel.ts";
import { temporaryFolder } from "../support/temporary.ts";

function gateway(owner: string, about: unknown): ClusterGateway {
  return { owner, about, intakes: [], lanes: 0 };
}

describe("the checks of a cluster", () => {
  it("name the gateway and the file that differ, and what commands need", async () => {
    await using folder = await temporaryFolder();
    const { path: workspace } = folder;
    await writeFile(join(workspace, "AGENT.md"), "Be kind.");
    const same = await readInstructions(workspace, workspace);
    const config = {
      gateway: { ...QUIET_GATEWAY, name: "one" },
      agents: { defaults: agentDefaults({ workspace }) },
      tools: toolSettings(),
    };
    const about = { name: "two", instructions: { ...same, hash: "x", files: { "SOUL.md": "1" } } };
    const gateways = [
      gateway("me", { name: "one", instructions: { hash: "older" } }),
      gateway("b", about),
      gateway("c", { name: "three", instructions: same }),
      gateway("d", undefined),
    ];
    const cluster = { owner: "me", gateways: async () => gateways };
    const checks = await clusterChecks({ config, home: workspace, cluster });
    assert.deepEqual(
      checks.map(({ result, message }) => `${result} ${message}`),
      [
        "warn are off: several gateways share gateway.store, and any of them may answer, each with other files",
        "warn are not those of the gateway two: AGENT.md, SOUL.md differ",
      ],
    );
    assert.match(checks[0]?.remedy ?? "", /this one is "one"$/);
  });

  it("say so when the store does not tell of the others", async () => {
    const config = {
      gateway: QUIET_GATEWAY,
      agents: { defaults: agentDefaults() },
      tools: toolSettings(),
    };
    const cluster = { owner: "me", gateways: () => Promise.reject(new Error("no route")) };
    const [, check] = await clusterChecks({ config, cluster });
    assert.equal(check?.result, "warn");
  });
});
