import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import type { Workspace } from "../../../src/agent/workspace/contract.ts";
import { openWorkspace } from "../../../src/agent/workspace/workspace.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import { temporaryFolder } from "../../support/temporary.ts";

type Files = Readonly<Record<string, string>>;

/** A home with a workspace in it, as the files say. */
async function createHome(files: Files, now = () => new Date()) {
  const folder = await temporaryFolder();
  const log = createMemoryLog();
  const write = async (path: string, text: string): Promise<void> => {
    const file = join(folder.path, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  };
  for (const [path, text] of Object.entries(files)) await write(path, text);
  const workspace = openWorkspace({
    folder: join(folder.path, "workspace"),
    home: folder.path,
    builtin: join(folder.path, "builtin"),
    now,
    log,
  });
  return {
    path: folder.path,
    workspace,
    log,
    write,
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const inAnHour = (): Date => new Date(Date.now() + 3_600_000);

const skill = (name: string, description: string): string =>
  `---\nname: ${name}\ndescription: ${description}\n---\n# ${name}\n`;

async function skillNames(workspace: Workspace): Promise<string[]> {
  return (await workspace.read()).skills.map(({ name }) => name);
}

describe("the workspace", () => {
  it("that is not there says nothing and is no failure", async () => {
    await using home = await createHome({});
    assert.deepEqual(await home.workspace.read(), {
      agent: "",
      settings: {},
      soul: "",
      user: "",
      memory: "",
      days: [],
      skills: [],
    });
    assert.deepEqual(home.log.lines, []);
  });

  it("tells who the agent is, what it remembers and what it can learn", async () => {
    await using home = await createHome({
      "workspace/AGENT.md":
        "---\nname: 007\ndescription: watches\ntools: [device, memory]\nmodel: gpt\nmaxTurns: 7\nskills: a, b\n---\r\nBe kind.\r\n",
      "workspace/AGENTS.md": "never read",
      "workspace/SOUL.md": "calm\n",
      "workspace/USER.md": "Ada",
      "workspace/memory/MEMORY.md": "- the pump is on GPIO 4\n",
      "workspace/memory/202512/20251231.md": "old",
      "workspace/memory/202601/20260101.md": "one",
      "workspace/memory/202601/20260103.md": "three",
      "workspace/memory/202601/20260102.md": "two",
      "workspace/memory/202601/20251231.md": "not of this month",
      "workspace/memory/202601/notes.md": "no day",
    });
    const { skills, ...texts } = await home.workspace.read();
    assert.deepEqual(texts, {
      agent: "Be kind.",
      settings: { name: "007", tools: ["device", "memory"], maxTurns: 7 },
      soul: "calm",
      user: "Ada",
      memory: "- the pump is on GPIO 4",
      days: [
        { date: "2026-01-01", text: "one" },
        { date: "2026-01-02", text: "two" },
        { date: "2026-01-03", text: "three" },
      ],
    });
    assert.deepEqual(skills, []);
  });

  it("of an older make is read from AGENTS.md and IDENTITY.md", async () => {
    await using home = await createHome({
      "workspace/AGENTS.md": "Rules.",
      "workspace/IDENTITY.md": "A claw.",
    });
    assert.equal((await home.workspace.read()).agent, "Rules.\n\nA claw.");
  });

  it("is read again when a file changed, came or went", async () => {
    await using home = await createHome({
      "workspace/USER.md": "Ada",
      "workspace/SOUL.md": "calm",
    });
    const soul = async () => (await home.workspace.read()).soul;
    assert.equal(await soul(), "calm");
    await home.write("workspace/SOUL.md", "wild");
    assert.equal(await soul(), "wild");
    await home.write("workspace/new", "mild");
    await rename(join(home.path, "workspace/new"), join(home.path, "workspace/SOUL.md"));
    assert.equal(await soul(), "mild");
    // Same size, same time stamp, as fast as it goes.
    for (const word of ["loud", "slow", "fast", "cold"]) {
      await home.write("workspace/SOUL.md", word);
      await utimes(join(home.path, "workspace/SOUL.md"), 1_000_000, 1_000_000);
      assert.equal(await soul(), word);
    }
    await rm(join(home.path, "workspace/SOUL.md"));
    assert.equal(await soul(), "");
    assert.deepEqual(home.log.lines, []);
  });

  it("is not read again while nothing changes", async () => {
    const files = { "workspace/skills/a/SKILL.md": skill("a", "first") };
    await using home = await createHome(files, inAnHour);
    const [first] = (await home.workspace.read()).skills;
    assert.equal((await home.workspace.read()).skills[0], first);
    await home.write("workspace/skills/a/SKILL.md", skill("a", "another"));
    assert.equal((await home.workspace.read()).skills[0]?.description, "another");
  });

  it("is read at most twice by many turns that begin at once", async () => {
    let loaded = 0;
    // Files that are this new are loaded by each reading.
    await using home = await createHome({ "workspace/SOUL.md": "calm" }, () => {
      loaded += 1;
      return new Date();
    });
    await home.workspace.read();
    const once = loaded;
    const all = await Promise.all(Array.from({ length: 50 }, () => home.workspace.read()));
    assert.deepEqual([...new Set(all.map(({ soul }) => soul))], ["calm"]);
    assert.equal(loaded, 3 * once);
  });

  it("cuts what is too long, says so, and logs it once", async () => {
    const long = "é".repeat(60_000);
    await using home = await createHome({
      "workspace/SOUL.md": long,
      "workspace/USER.md": "x".repeat(65_536),
      "workspace/memory/MEMORY.md": "m".repeat(65_536),
      "workspace/AGENT.md": "a".repeat(65_536),
      "workspace/memory/202601/20260101.md": "1".repeat(60_000),
      "workspace/memory/202601/20260102.md": "2".repeat(60_000),
    });
    await home.workspace.read();
    const { soul, user, memory, days } = await home.workspace.read();
    assert.match(soul, /^é{32768}\n… \(cut here: the file has 120000 bytes\)$/);
    assert.equal(user.length, 65_536);
    assert.equal(memory.length, 65_536);
    assert.match(
      days[1]?.text ?? "",
      /^2+\n… \(cut here: the texts of the workspace are too long\)$/,
    );
    assert.match(days[0]?.text ?? "", /^\n… \(cut here/);
    assert.equal(home.log.lines.length, 1);
    assert.match(String(home.log.lines[0]?.fields["file"]), /SOUL\.md$/);
  });

  it("leaves out what is no file of its own, and logs it once", async () => {
    await using home = await createHome({ "secret.md": "secret", "workspace/other.md": "other" });
    const at = (name: string) => join(home.path, "workspace", name);
    await symlink(join(home.path, "secret.md"), at("USER.md"));
    await symlink("/proc/self/environ", at("SOUL.md"));
    await symlink("other.md", at("AGENT.md"));
    await mkdir(at("memory"));
    await symlink("skills", at("skills"));
    execFileSync("mkfifo", [at("memory/MEMORY.md")]);
    await home.workspace.read();
    const texts = await home.workspace.read();
    assert.deepEqual([texts.user, texts.soul, texts.memory], ["", "", ""]);
    assert.equal(texts.agent, "other", "a link inside the workspace is followed");
    assert.deepEqual(home.log.lines.map(({ fields }) => String(fields["why"])).toSorted(), [
      "ELOOP",
      `it is a link that leaves ${home.path}/workspace`,
      `it is a link that leaves ${home.path}/workspace`,
      "it is not a regular file",
    ]);
  });

  it("may be reached through a link itself", async () => {
    await using home = await createHome({ "real/SOUL.md": "calm" });
    await symlink("real", join(home.path, "workspace"));
    assert.equal((await home.workspace.read()).soul, "calm");
  });

  it("survives frontmatter that is no YAML", async () => {
    await using home = await createHome({
      "workspace/AGENT.md": "---\nname: Claw: the second\ntools: [a\n---\nBody",
      "workspace/skills/odd/SKILL.md": "---\nname: odd\ndescription: Use when: it is odd\n---\n",
    });
    const { agent, settings, skills } = await home.workspace.read();
    assert.equal(agent, "Body");
    assert.equal(settings.name, "Claw: the second");
    assert.equal(skills[0]?.description, "Use when: it is odd");
  });
});

describe("the skills of a workspace", () => {
  it("come from three places, and the first of a name wins", async () => {
    await using home = await createHome({
      "workspace/skills/pump/SKILL.md": skill("pump", "of the workspace"),
      "skills/PUMP/SKILL.md": skill("Pump", "of the home"),
      "skills/disk/SKILL.md": skill("disk", "of the home"),
      "builtin/disk/SKILL.md": skill("disk", "that comes along"),
      "builtin/mqtt/SKILL.md": skill("mqtt", "that comes along"),
      "builtin/README.md": "no skill",
      "builtin/empty/notes.md": "no skill",
    });
    const { skills } = await home.workspace.read();
    assert.deepEqual(
      skills.map(({ name, description }) => `${name} ${description}`),
      ["disk of the home", "mqtt that comes along", "pump of the workspace"],
    );
    assert.equal(skills[2]?.file, join(home.path, "workspace/skills/pump/SKILL.md"));
  });

  it("are there as soon as they are written", async () => {
    await using home = await createHome({ "workspace/skills/a/SKILL.md": skill("a", "first") });
    assert.deepEqual(await skillNames(home.workspace), ["a"]);
    await home.write("workspace/skills/b/SKILL.md", skill("b", "second"));
    assert.deepEqual(await skillNames(home.workspace), ["a", "b"]);
    await rm(join(home.path, "workspace/skills/a"), { recursive: true });
    assert.deepEqual(await skillNames(home.workspace), ["b"]);
  });

  it("may be links inside the workspace, and not out of it", async () => {
    await using home = await createHome({
      "workspace/work/in/SKILL.md": skill("in", "inside"),
      "outside/SKILL.md": skill("out", "outside"),
    });
    await mkdir(join(home.path, "workspace/skills"));
    await symlink("../work/in", join(home.path, "workspace/skills/in"));
    await symlink("../../outside", join(home.path, "workspace/skills/out"));
    assert.deepEqual(await skillNames(home.workspace), ["in"]);
    assert.equal(home.log.lines.length, 1);
  });

  it("have names that are words, and descriptions of one bounded line", async () => {
    await using home = await createHome({
      "workspace/skills/good/SKILL.md": skill('"../../etc"', `"${"long ".repeat(1000)}"`),
      "workspace/skills/no name/SKILL.md": skill("<b>", "bad"),
      "workspace/skills/bare/SKILL.md": "# Bare\n\nDoes what it says.\n",
    });
    const { skills } = await home.workspace.read();
    assert.deepEqual(
      skills.map(({ name }) => name),
      ["bare", "good"],
    );
    assert.equal(skills[0]?.description, "Does what it says.");
    assert.ok((skills[1]?.description.length ?? 0) <= 1025);
  });
});
