import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createPermissions, FULL_ACCESS, ownerOf } from "../../../src/agent/access/permissions.ts";
import type { ExecSettings, ToolProfile } from "../../../src/config/contract.ts";
import { toolProfile, toolSettings } from "../../support/agent-config.ts";

const TOOLS =
  "append_file device edit_file exec list_dir memory mqtt read_file spawn spawn_status subagent use_skill web_fetch web_search write_file".split(
    " ",
  );

function permissionsFor(
  profiles: readonly ToolProfile[],
  exec: Partial<ExecSettings> = {},
  off: readonly string[] = [],
) {
  const settings = toolSettings({ profiles });
  const tools = { profiles, exec: { ...settings.exec, ...exec }, off: new Set(off) };
  return createPermissions({ tools, workspace: "/w" });
}

function toolsOf(
  profiles: readonly ToolProfile[],
  client: string,
  exec: Partial<ExecSettings> = {},
): string[] {
  const permissions = permissionsFor(profiles, exec)({ client, channel: "mqtt", isRemote: true });
  return TOOLS.filter((name) => permissions.allows(name));
}

function memoryOf(write: readonly string[]): string {
  return permissionsFor([toolProfile({ write })])({ client: "c", isRemote: true }).memory;
}

const LITTLE = ["device", "memory", "use_skill", "web_fetch"];

describe("what somebody may do", () => {
  it("is everything for who is at this machine, whatever the profiles say", () => {
    const nothing = [toolProfile({ pattern: "*" })];
    assert.equal(permissionsFor(nothing, { allow_remote: false })({ client: "me" }), FULL_ACCESS);
  });

  it("is nothing that is switched off, for nobody", () => {
    const all = [toolProfile({ pattern: "workshop", tools: ["*"] })];
    const permissionsOf = permissionsFor(all, { allow_remote: true }, ["device", "skills"]);
    for (const caller of [
      { client: "me" },
      { client: "workshop", isRemote: true },
      { client: "kitchen", isRemote: true },
    ]) {
      const { allows } = permissionsOf(caller);
      const answers = ["device", "use_skill", "memory"].map((tool) => allows(tool));
      assert.deepEqual(answers, [false, false, true]);
    }
  });

  it("is no command for a client where commands have no sandbox", () => {
    const profiles = [toolProfile({ pattern: "workshop", tools: ["*"] })];
    const settings = toolSettings({ profiles });
    for (const isSandboxed of [true, false]) {
      const permissionsOf = createPermissions({
        tools: { ...settings, exec: { ...settings.exec, allow_remote: true } },
        workspace: "/w",
        isSandboxed,
      });
      for (const client of ["workshop", "kitchen"]) {
        const { allows } = permissionsOf({ client, isRemote: true });
        assert.equal(allows("exec"), isSandboxed, client);
        assert.equal(allows("spawn"), true, client);
      }
      assert.equal(permissionsOf({ client: "workshop" }).allows("exec"), true);
    }
  });

  it("is next to nothing for a client without a profile", () => {
    assert.deepEqual(toolsOf([], "kitchen"), LITTLE);
    const permissions = permissionsFor([])({ client: "kitchen", isRemote: true });
    assert.deepEqual(permissions.files, { read: [], write: [] });
    assert.deepEqual(permissions.topics, { read: [], publish: [] });
    assert.equal(permissions.memory, "own");
  });

  it("is everything for a client without a profile once allow_remote was said", () => {
    assert.deepEqual(toolsOf([], "kitchen", { allow_remote: true }), TOOLS);
  });

  it("is what the profile says also where allow_remote was said", () => {
    const profiles = [toolProfile({ pattern: "kitchen", tools: ["device"] })];
    assert.deepEqual(toolsOf(profiles, "kitchen", { allow_remote: true }), ["device"]);
    assert.deepEqual(toolsOf(profiles, "cellar", { allow_remote: true }), TOOLS);
  });

  it("never holds exec where allow_remote was said to be false", () => {
    const profiles = [toolProfile({ tools: ["*"] })];
    assert.ok(!toolsOf(profiles, "kitchen", { allow_remote: false }).includes("exec"));
  });

  it("is nothing that a profile leaves out", () => {
    assert.deepEqual(toolsOf([toolProfile({})], "kitchen"), []);
    const names = toolsOf([toolProfile({ tools: ["*"] })], "kitchen");
    assert.deepEqual(
      TOOLS.filter((name) => !names.includes(name)),
      ["append_file", "edit_file", "list_dir", "mqtt", "read_file", "write_file"],
    );
    const reading = toolProfile({ tools: ["*"], read: ["/w"] });
    assert.ok(!toolsOf([reading], "kitchen").includes("edit_file"));
  });

  it("comes from the first profile that means the client", () => {
    const profiles = [
      toolProfile({ pattern: "42", tools: ["device"] }),
      toolProfile({ pattern: "4*", tools: ["exec"] }),
      toolProfile({ pattern: "*", tools: ["memory"] }),
    ];
    assert.deepEqual(toolsOf(profiles, "42"), ["device"]);
    assert.deepEqual(toolsOf(profiles, "43"), ["exec"]);
    assert.deepEqual(toolsOf(profiles, "7"), ["memory"]);
  });

  it("lets only who may write the folder memory change the memory of all", () => {
    assert.equal(memoryOf(["/w"]), "shared");
    assert.equal(memoryOf(["/w/memory"]), "shared");
    assert.equal(memoryOf(["/w/data", "/w/memory/202611"]), "own");
    assert.equal(memoryOf(["/w/memory-of-others"]), "own");
  });
});

describe("the attack on the rights of another", () => {
  const profiles = [toolProfile({ pattern: "boss", tools: ["exec"] })];
  for (const [what, client] of [
    ["a pattern", "*"],
    ["the beginning and a pattern", "bos?"],
    ["another case", "Boss"],
    ["another case in full width", "ｂｏｓｓ"],
    ["the name with more behind it", "boss2"],
    ["the name with a blank", "boss "],
    ["the name with a line break", "boss\n"],
    ["the name with a NUL", "boss\0"],
    ["the name with a character of no width", "boss\u200b"],
    ["a list of names", "boss,kitchen"],
    ["an alternative", "kitchen|boss"],
    ["a way through folders", "kitchen/../boss"],
    ["the channel in front", "mqtt:boss"],
  ] as const) {
    it(`by ${what} as its client id gives nothing more`, () => {
      assert.deepEqual(toolsOf(profiles, client), LITTLE);
    });
  }

  it("by saying that it is at this machine is none that a request can make: the channel decides", () => {
    assert.deepEqual(toolsOf(profiles, "cli:default"), LITTLE);
  });

  it("by the same id on another channel finds nothing that is kept for the first", () => {
    const owners = [
      { client: "c", channel: "mqtt", isRemote: true },
      { client: "c", channel: "mqtt2", isRemote: true },
      { client: "2c", channel: "mqtt", isRemote: true },
      { client: "tc", channel: "mqt", isRemote: true },
      { client: "mqttc", channel: "", isRemote: true },
      { client: "c" },
      { client: "here:c", channel: "", isRemote: true },
      { client: "4:mqttc" },
    ].map(ownerOf);
    assert.equal(new Set(owners).size, owners.length);
  });
});
