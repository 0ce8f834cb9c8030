import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { initWorkspace } from "../../src/cli/runtime/runtime.ts";
import type { Config } from "../../src/config/contract.ts";
import { agentConfig, modelEntry } from "../support/agent-config.ts";
import { NO_LIMITS } from "../support/channel.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { temporaryFolder } from "../support/temporary.ts";

function configFor(workspace: string, models = [modelEntry()]): Config {
  const gateway = {
    host: "",
    port: 0,
    log_level: "info",
    dedupe_window_secs: 600,
    exclusive: false,
    ignore_unsupported: [],
    page: { enabled: false },
    tokens: {},
    mcp: { enabled: false, channel: "" },
    ollama: { enabled: false, channel: "" },
    limits: NO_LIMITS,
  } as const;
  return {
    ...agentConfig(models, { workspace }),
    gateway,
    heartbeat: { enabled: true, interval: 30 },
    session: { dimensions: ["chat"] },
  };
}

describe("a workspace that nobody has begun", () => {
  it("gets files to begin with, once", async () => {
    await using folder = await temporaryFolder();
    const workspace = join(folder.path, "workspace");
    await mkdir(join(workspace, "state"), { recursive: true });
    const log = createMemoryLog();
    await initWorkspace(configFor(workspace), log);
    const files = await readdir(workspace);
    for (const file of ["AGENT.md", "SOUL.md", "USER.md", "skills"]) {
      assert.ok(files.includes(file), file);
    }
    assert.equal(log.lines.length, 1);
    await rm(join(workspace, "SOUL.md"));
    await initWorkspace(configFor(workspace), log);
    assert.ok(!(await readdir(workspace)).includes("SOUL.md"));
  });

  it("stays as it is without a model", async () => {
    await using folder = await temporaryFolder();
    const log = createMemoryLog();
    await initWorkspace(configFor(folder.path, []), log);
    assert.deepEqual(await readdir(folder.path), []);
  });

  it("gets them for a model that is named although it is switched off", async () => {
    await using folder = await temporaryFolder();
    const config = configFor(folder.path, [modelEntry({ model_name: "off", enabled: false })]);
    await initWorkspace(config, createMemoryLog());
    assert.deepEqual(await readdir(folder.path), []);
    const { defaults } = config.agents;
    const agents = { ...config.agents, defaults: { ...defaults, model_name: "off" } };
    await initWorkspace({ ...config, agents }, createMemoryLog());
    assert.ok((await readdir(folder.path)).includes("AGENT.md"));
  });

  it("that has a file of somebody's stays as it is", async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, "AGENT.md"), "mine");
    await initWorkspace(configFor(folder.path), createMemoryLog());
    assert.deepEqual(await readdir(folder.path), ["AGENT.md"]);
    assert.equal(await readFile(join(folder.path, "AGENT.md"), "utf8"), "mine");
  });

  it("below a file is left to the state, which says why it cannot be had", async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, "file"), "");
    const log = createMemoryLog();
    await initWorkspace(configFor(join(folder.path, "file", "workspace")), log);
    assert.deepEqual(
      log.lines.map(({ level }) => level),
      [],
    );
  });
});
