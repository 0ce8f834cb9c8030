import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { allTextOf, failureFrom, inHome, loadedFrom, warningText } from "./home.ts";

describe("tools.profiles", () => {
  it("are taken in the order of the file, whatever their keys look like", async () => {
    const { config } = await loadedFrom(
      `{"tools": {"profiles": {"z*": {}, "42": {"tools": ["exec"]}, "a": {}, "7": {}, "__proto__": {}, "*": {}}}}`,
    );
    assert.deepEqual(
      config.tools.profiles.map(({ pattern }) => pattern),
      ["z*", "42", "a", "7", "__proto__", "*"],
    );
    assert.deepEqual(config.tools.profiles[1]?.tools, ["exec"]);
  });

  it("say so if a profile wants confirmation by nobody", async () => {
    const profiles = { a: { confirm: { minutes: 5 } }, b: { confirm: { by: ["anna"] } }, c: {} };
    const warnings = warningText(await loadedFrom({ tools: { profiles } }));
    assert.match(warnings, /tools\.profiles\.a\.confirm: has nobody in by: no call waits/);
    assert.doesNotMatch(warnings, /profiles\.[bc]\.confirm/);
  });

  it("have paths that are relative to the workspace, to the user's home, or absolute", async () => {
    const tools = { profiles: { kitchen: { read: [".", "logs"], write: "~/notes" } } };
    await inHome({ "config.json": { tools } }, async (home) => {
      const { config } = await home.loaded();
      const [profile] = config.tools.profiles;
      const workspace = join(home.path, "workspace");
      assert.deepEqual(profile, {
        pattern: "kitchen",
        tools: [],
        read: [workspace, join(workspace, "logs")],
        write: [join(home.user, "notes")],
        topics: { read: [], publish: [] },
        agents: [],
        message_to: [],
        confirm: { by: [], tools: [], minutes: 10 },
      });
    });
  });

  it("follow the workspace where that is elsewhere", async () => {
    const { config } = await loadedFrom({
      agents: { defaults: { workspace: "/srv/claw" } },
      tools: { profiles: { "a*": { read: ["data", "/mnt/usb"] } } },
    });
    assert.deepEqual(config.tools.profiles[0]?.read, ["/srv/claw/data", "/mnt/usb"]);
  });

  it("call the tool of skills as the settings or as models do", async () => {
    const loaded = await loadedFrom({
      tools: { profiles: { a: { tools: ["skills", "use_skill", "*"] } } },
    });
    assert.deepEqual(loaded.config.tools.profiles[0]?.tools, ["use_skill", "use_skill", "*"]);
    assert.doesNotMatch(warningText(loaded), /tools\[/);
  });

  it("with a tool that is none are reported with the nearest name, and allow nothing by it", async () => {
    const loaded = await loadedFrom({ tools: { profiles: { a: { tools: ["read-file"] } } } });
    assert.match(
      warningText(loaded),
      /tools\.profiles\.a\.tools\[0\].*"read-file" is not a tool.*did you mean read_file/s,
    );
  });

  it("with unknown keys are reported with the nearest", async () => {
    const loaded = await loadedFrom({
      tools: { profiles: { a: { reads: ["."], topics: { publsh: [] } } } },
    });
    assert.match(warningText(loaded), /tools\.profiles\.a\.reads.*did you mean read\?/s);
    assert.match(warningText(loaded), /topics\.publsh.*did you mean publish\?/s);
  });

  it("with bad filters, paths, patterns or shapes are errors that name the place", async () => {
    const failure = await failureFrom({
      tools: {
        profiles: {
          one: { topics: { read: ["a/#/b"], publish: ["$share/x/#"] } },
          two: { read: [""], write: ["a\0b"] },
          three: ["exec"],
          ["x".repeat(257)]: {},
          "": {},
        },
      },
    });
    const text = allTextOf(failure);
    for (const place of [
      /profiles\.one\.topics\.read.*found "a\/#\/b".*topic filter/,
      /profiles\.one\.topics\.publish.*found "\$share\/x\/#"/,
      /profiles\.two\.read.*a path/,
      /profiles\.two\.write.*a path/,
      /profiles\.three: found a list, allowed is an object/,
      /a pattern of 257 characters/,
      /an empty pattern/,
    ]) {
      assert.match(text, place);
    }
  });

  it("are an object, not a list", async () => {
    const failure = await failureFrom({ tools: { profiles: [{ tools: ["*"] }] } });
    assert.match(allTextOf(failure), /tools\.profiles: found a list, allowed is an object/);
  });

  it("can hold comments, and names that only look like them", async () => {
    const { config } = await loadedFrom({
      tools: { profiles: { _comment: "for the kitchen", _hidden: { tools: ["device"] } } },
    });
    assert.deepEqual(
      config.tools.profiles.map(({ pattern }) => pattern),
      ["_hidden"],
    );
  });
});

describe("tools.exec.allow_remote", () => {
  it("is absent unless the file or the environment sets it", async () => {
    const silent = await loadedFrom({ tools: { exec: { timeout_seconds: 5 } } });
    assert.equal(silent.config.tools.exec.allow_remote, undefined);
    const said = await loadedFrom({ tools: { exec: { allow_remote: true } } });
    assert.equal(said.config.tools.exec.allow_remote, true);
    const env = { PICOCLAW_TOOLS_EXEC_ALLOW_REMOTE: "false" };
    const loaded = await loadedFrom({ tools: { exec: { allow_remote: true } } }, { env });
    assert.equal(loaded.config.tools.exec.allow_remote, false);
  });
});
