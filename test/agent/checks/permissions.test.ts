import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { permissionChecks, pinCheck } from "../../../src/agent/checks.ts";
import type { ExecSettings, ToolProfile } from "../../../src/config/contract.ts";
import { toolProfile, toolSettings } from "../../support/agent-config.ts";

function lines(
  profiles: readonly ToolProfile[],
  exec: Partial<ExecSettings> = {},
  off: readonly string[] = [],
): string[] {
  const settings = toolSettings({ profiles, off: new Set(off) });
  const tools = { ...settings, exec: { ...settings.exec, ...exec } };
  return permissionChecks({ tools, workspace: "/w/claw" }).map(
    ({ name, result, message, remedy }) => `${result} ${name}: ${message} (${remedy})`,
  );
}

function wide(profile: Partial<ToolProfile>): string {
  return lines([toolProfile(profile)]).join();
}

/** Of those who have one conversation. */
function look(profiles: readonly ToolProfile[]): string {
  return permissionChecks({ tools: toolSettings({ profiles }), workspace: "/w", isShared: true })
    .map(({ message }) => message)
    .join();
}

function confirming(by: readonly string[], tools: readonly string[] = []): string {
  return wide({ pattern: "panel", confirm: { by, tools, minutes: 10 } });
}

describe("a look at what clients may do", () => {
  it("finds nothing where nothing was said, and where profiles are narrow", () => {
    const profiles = [
      toolProfile({ pattern: "kitchen", tools: ["exec", "*"], read: ["/w/claw"], write: ["/mnt"] }),
      toolProfile({ pattern: "*", tools: ["device", "memory"] }),
    ];
    for (const found of [lines([]), lines(profiles)]) {
      assert.equal(found.length, 1);
      assert.match(found[0] ?? "", /^ok /);
    }
  });

  it("warns of allow_remote, with the way out", () => {
    const [line = "", ...more] = lines([], { allow_remote: true });
    assert.match(line, /^warn .*every client may run commands.*remove allow_remote/);
    assert.deepEqual(more, []);
    const profiles = [toolProfile({ pattern: "kitchen" })];
    assert.match(lines(profiles, { allow_remote: true })[0] ?? "", /without a profile/);
  });

  it("warns of calls that nobody could confirm", () => {
    assert.match(confirming(["anna-*"]), /warn .*confirm.by contains anna-\*/);
    assert.match(confirming([], ["exec"]), /warn .*confirm.by nobody/);
    assert.match(confirming(["anna"], ["exec"]), /^ok /);
  });

  it("warns of everyone who may run commands, use all tools or write outside", () => {
    assert.match(wide({ tools: ["exec"] }), /warn .*every client .* run commands/);
    assert.match(wide({ pattern: "**", tools: ["*"] }), /every client .* use every tool/);
    assert.match(wide({ write: ["/srv"] }), /every client .* write outside the workspace/);
    assert.match(
      wide({ write: ["/w/claw/skills/x"] }),
      /every client .* change the instructions of the agent/,
    );
    for (const write of ["/w/claw", "/w/claw/data"]) {
      assert.doesNotMatch(wide({ write: [write] }), /warn/);
    }
  });

  it("warns of publishing anywhere, and of folders above the workspace", () => {
    for (const filter of ["#", "+/#", "+/+/#"]) {
      const topics = { read: [], publish: ["home/x", filter] };
      assert.match(lines([toolProfile({ pattern: "a", topics })]).join(), /publishes to any topic/);
    }
    const topics = { read: ["#"], publish: ["home/#"] };
    assert.doesNotMatch(lines([toolProfile({ pattern: "a", topics })]).join(), /publishes/);
    assert.match(lines([toolProfile({ pattern: "a", read: ["/"] })]).join(), /reaches all of \//);
    assert.match(
      lines([toolProfile({ pattern: "a", write: ["/w"] })]).join(),
      /reaches all of \/w/,
    );
  });

  it("warns of one conversation for clients of different rights", () => {
    assert.match(
      look([toolProfile({ pattern: "a", tools: ["device"] })]),
      /share one conversation/,
    );
    assert.doesNotMatch(look([]), /share/);
  });

  it("warns of a profile that nobody ever gets", () => {
    const found = lines([
      toolProfile({ pattern: "kitchen*" }),
      toolProfile({ pattern: "kitchen-2" }),
      toolProfile({ pattern: "cellar" }),
    ]);
    assert.equal(found.length, 1);
    assert.match(found[0] ?? "", /"kitchen-2": is never used: "kitchen\*" before it/);
  });

  it("warns of tools that are off, or that a profile gives nothing to do", () => {
    const profiles = [toolProfile({ pattern: "a", tools: ["exec", "use_skill", "device"] })];
    assert.match(lines(profiles, { allow_remote: false }).join(), /switched off: exec/);
    assert.match(lines(profiles, {}, ["skills"]).join(), /switched off: use_skill/);
    const idle = [toolProfile({ pattern: "a", tools: ["read_file", "mqtt"] })];
    assert.match(lines(idle).join(), /can do nothing: read_file, mqtt/);
    const asks = [toolProfile({ pattern: "a", tools: ["ask_agent", "set_device", "devices"] })];
    assert.match(lines(asks).join(), /to the profile: agents, topics\.publish, topics\)/);
  });
});

function check(pin?: string) {
  const { exec, ...tools } = toolSettings();
  return pinCheck({ ...tools, exec: { ...exec, ...(pin !== undefined && { pin }) } }, "here");
}

describe("where commands and files are used in a cluster", () => {
  it("is told, and what to set where nowhere", () => {
    assert.deepEqual([check("here").result, check("there").result], ["ok", "ok"]);
    assert.match(check("there").message, /run on the gateway there, not on this one, here/);
    assert.equal(check().result, "warn");
    assert.match(check("").remedy ?? "", /set tools\.exec\.pin to .+; this one is "here"/);
  });
});
