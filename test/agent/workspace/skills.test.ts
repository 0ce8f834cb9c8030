import assert from "node:assert/strict";
import { mkdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { createSkillTool, useSkill } from "../../../src/agent/tools/use-skill.ts";
import { systemPrompt } from "../../../src/agent/turn/prompt.ts";
import { documentOf } from "../../../src/agent/workspace/markdown.ts";
import { writeTemplates } from "../../../src/agent/workspace/templates.ts";
import { openWorkspace } from "../../../src/agent/workspace/workspace.ts";
import { callContext } from "../../support/agent-config.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import { runs } from "../../support/runs.ts";
import { temporaryFolder } from "../../support/temporary.ts";

async function createHome(files: Readonly<Record<string, string>> = {}) {
  const home = await temporaryFolder();
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(home.path, path)), { recursive: true });
    await writeFile(join(home.path, path), text);
  }
  const folder = join(home.path, "workspace");
  const log = createMemoryLog();
  const workspace = openWorkspace({
    folder,
    home: home.path,
    builtin: "",
    now: () => new Date(),
    log,
  });
  return {
    path: home.path,
    folder,
    workspace,
    log,
    [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
  };
}

const PUMP = "---\nname: pump\ndescription: pumps\n---\n# Pump\n\nTurn it.\n";

describe("the tool use_skill", () => {
  it("reads the instructions and tells what lies beside them", async () => {
    await using home = await createHome({
      "workspace/skills/pump/SKILL.md": PUMP,
      "workspace/skills/pump/run.sh": "",
      "workspace/skills/pump/parts/valve.md": "",
      "workspace/skills/pump/.git/config": "",
      "secret/key": "",
    });
    await symlink(join(home.path, "secret"), join(home.folder, "skills/pump/link"));
    const tool = createSkillTool(home.workspace);
    assert.equal(
      await tool.run({ name: "PUMP" }, callContext()),
      `Skill: pump\nFolder: ${home.folder}/skills/pump\nFiles beside: link, parts/valve.md, run.sh\n\n# Pump\n\nTurn it.`,
    );
    assert.equal(
      await tool.run({ name: "pumb" }, callContext()),
      'error: there is no skill "pumb", did you mean pump? Skills are: pump.',
    );
  });

  it("cuts instructions that are too long and says so", async () => {
    await using home = await createHome({
      "workspace/skills/pump/SKILL.md": `${PUMP}${"é".repeat(20_000)}`,
    });
    const text = await createSkillTool(home.workspace).run({ name: "pump" }, callContext());
    assert.match(
      text,
      /é\n… \(cut here: the file has \d+ bytes; read the rest with a file tool\)$/,
    );
    assert.ok(Buffer.byteLength(text) < 34_000);
  });

  it("says so when a skill is gone since it was listed", async () => {
    await using home = await createHome({ "workspace/skills/pump/SKILL.md": PUMP });
    const texts = await home.workspace.read();
    await rm(join(home.folder, "skills/pump"), { recursive: true });
    const stale = { folder: home.folder, read: async () => texts };
    assert.equal(await useSkill(stale, "pump"), "the skill pump cannot be read");
  });

  it("never makes a path of a name", async () => {
    await using home = await createHome({
      "workspace/skills/pump/SKILL.md": PUMP,
      "SKILL.md": PUMP,
    });
    const part = fc.constantFrom("..", "/", ".", "pump", "\0", "%2e", "skills", "SKILL.md", " ");
    const name = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(""));
    await fc.assert(
      fc.asyncProperty(name, async (text) => {
        const skill = await useSkill(home.workspace, text);
        assert.equal(typeof skill === "string", text.trim() !== "pump");
      }),
      { numRuns: runs(100) },
    );
  });
});

describe("the templates of a workspace", () => {
  it("are written where nothing is yet, for this user alone, and read without a fault", async () => {
    await using home = await createHome();
    const written = await writeTemplates(home.folder);
    assert.deepEqual(written, [
      "AGENT.md",
      "SOUL.md",
      "USER.md",
      "memory/MEMORY.md",
      "skills/device-care/SKILL.md",
      "skills/mqtt/SKILL.md",
    ]);
    for (const path of written) {
      assert.equal((await stat(join(home.folder, path))).mode & 0o777, 0o600);
    }
    assert.equal((await stat(join(home.folder, "skills/mqtt"))).mode & 0o777, 0o700);
    const texts = await home.workspace.read();
    assert.equal(texts.settings.name, "picoclaw");
    assert.deepEqual(
      texts.skills.map(({ name }) => name),
      ["device-care", "mqtt"],
    );
    assert.deepEqual(home.log.lines, []);
    assert.deepEqual(await writeTemplates(home.folder), []);
    const prompt = systemPrompt({ workspace: home.folder, texts });
    assert.ok(prompt.length < 4_000, `${prompt.length} characters`);
    assert.doesNotMatch(prompt, /USER\.md\n|# Memory|<!--/);
  });

  it("have no field that needs the YAML parser, which each turn with new files would run", async () => {
    await using home = await createHome();
    for (const path of await writeTemplates(home.folder)) {
      const { fields } = await documentOf(await readFile(join(home.folder, path), "utf8"));
      for (const [name, field] of fields) assert.equal(typeof field, "string", `${path}: ${name}`);
    }
  });

  it("never take the place of what somebody wrote", async () => {
    await using home = await createHome({
      "workspace/SOUL.md": "mine",
      "workspace/AGENTS.md": "of an older make",
    });
    await symlink(join(home.path, "elsewhere"), join(home.folder, "USER.md"));
    const written = await writeTemplates(home.folder);
    assert.deepEqual(
      written.filter((path) => !path.startsWith("skills/")),
      ["memory/MEMORY.md"],
    );
    assert.equal(await readFile(join(home.folder, "SOUL.md"), "utf8"), "mine");
    await assert.rejects(stat(join(home.path, "elsewhere")));
    assert.equal((await home.workspace.read()).agent, "of an older make");
  });
});
