import assert from "node:assert/strict";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { instructionChecks, readInstructions } from "../../../src/agent/workspace/instructions.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const FILES: Readonly<Record<string, string>> = {
  "workspace/AGENT.md": "Be kind.",
  "workspace/SOUL.md": "calm",
  "workspace/skills/weather/SKILL.md": "Ask the station.",
  "workspace/skills/weather/scripts/ask.sh": "curl station",
  "skills/home/SKILL.md": "of the home",
  "workspace/memory/MEMORY.md": "no instruction",
  "workspace/skills/weather/.cache": "hidden",
};

async function machine(files: Readonly<Record<string, string>>, names = Object.keys(files)) {
  const { path: home, ...disposable } = await temporaryFolder();
  const write = async (name: string, text: string): Promise<void> => {
    await mkdir(dirname(join(home, name)), { recursive: true });
    await writeFile(join(home, name), text);
  };
  for (const name of names) await write(name, files[name] ?? "");
  return {
    ...disposable,
    home,
    write,
    read: () => readInstructions(join(home, "workspace"), home),
  };
}

describe("the instructions of a gateway", () => {
  it("are the same on two machines, whatever was written first, and other after each change of one", async () => {
    await using one = await machine(FILES);
    await using two = await machine(FILES, Object.keys(FILES).toReversed());
    const [own, other] = [await one.read(), await two.read()];
    assert.deepEqual(own, other);
    assert.deepEqual(Object.keys(own.files), [
      "AGENT.md",
      "SOUL.md",
      "skills of the home/home/SKILL.md",
      "skills/weather/SKILL.md",
      "skills/weather/scripts/ask.sh",
    ]);
    for (const name of ["workspace/memory/MEMORY.md", "workspace/skills/weather/.cache"]) {
      await two.write(name, "changed");
      assert.equal((await two.read()).hash, own.hash, name);
    }
    const seen = new Set([own.hash]);
    for (const name of Object.keys(FILES).slice(0, 5)) {
      await two.write(name, "changed");
      seen.add((await two.read()).hash);
    }
    assert.equal(seen.size, 6);
    await rm(join(two.home, "workspace/skills"), { recursive: true });
    assert.ok(!seen.has((await two.read()).hash));
  });

  it("are told to differ by the names of the gateway and of the file", async () => {
    await using one = await machine(FILES);
    await using two = await machine({ ...FILES, "workspace/SOUL.md": "wild" });
    const own = await one.read();
    const checked = (instructions: unknown) =>
      instructionChecks(own, [{ gateway: "two", instructions }]).map(
        ({ result, message }) => `${result} ${message}`,
      );
    assert.deepEqual(checked(own), ["ok are the same on all gateways"]);
    assert.deepEqual(checked(await two.read()), [
      "warn are not those of the gateway two: SOUL.md differs",
    ]);
    await rm(join(two.home, "workspace/AGENT.md"));
    await two.write("workspace/skills/a/SKILL.md", "a");
    await two.write("workspace/skills/b/SKILL.md", "b");
    assert.deepEqual(checked(await two.read()), [
      "warn are not those of the gateway two: AGENT.md, SOUL.md, skills/a/SKILL.md and 1 more differ",
    ]);
    for (const strange of [undefined, 7, {}, { hash: 7 }])
      assert.deepEqual(checked(strange), ["ok are compared with no other gateway"]);
    assert.deepEqual(checked({ hash: "x", files: 7 }).length, 1);
  });

  it("of very many, very long and strange files are read within bounds", async () => {
    await using one = await machine({ "workspace/AGENT.md": "x".repeat(2 ** 20) });
    const before = await one.read();
    await one.write("workspace/AGENT.md", "x".repeat(2 ** 20 + 1));
    const { hash } = await one.read();
    assert.notEqual(hash, before.hash);
    for (let file = 0; file < 300; file += 1)
      await one.write(`workspace/skills/${file}/SKILL.md`, `${file}`);
    await symlink("/etc/hostname", join(one.home, "workspace/SOUL.md"));
    await symlink("..", join(one.home, "workspace/skills/loop"));
    const many = await one.read();
    assert.equal(Object.keys(many.files).length, 128);
    assert.ok(!("SOUL.md" in many.files), "it leaves the workspace");
    await one.write("workspace/skills/99/SKILL.md", "changed");
    const after = await one.read();
    assert.notEqual(after.hash, many.hash);
    assert.match(
      instructionChecks(many, [{ gateway: "g", instructions: after }])[0]?.message ?? "",
      /differs$/,
    );
  });
});
