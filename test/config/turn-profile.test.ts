import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { allTextOf, failureFrom, loadedFrom, warningText } from "./home.ts";

const withProfile = (turn_profile: object) => ({
  version: 3,
  agents: { defaults: { turn_profile } },
});

describe("agents.defaults.turn_profile", () => {
  it("is read as Go PicoClaw writes it", async () => {
    const loaded = await loadedFrom(
      withProfile({
        enabled: true,
        history: { mode: "off" },
        system_prompt: { mode: " OFF " },
        skills: { mode: "off" },
        tools: { mode: "custom", allow: ["web_search", " Web_Fetch ", ""] },
      }),
    );
    assert.deepEqual(loaded.config.agents.defaults.turn_profile, {
      history: "off",
      system_prompt: "off",
      skills: new Set(),
      tools: new Set(["web_search", "web_fetch"]),
    });
    assert.doesNotMatch(warningText(loaded), /turn_profile/);
  });

  it("restricts nothing that it does not name", async () => {
    const { config } = await loadedFrom(withProfile({ enabled: true, tools: { allow: ["exec"] } }));
    const expected = { history: "default", system_prompt: "default" };
    assert.deepEqual(config.agents.defaults.turn_profile, expected);
  });

  it("with a list of nothing allows nothing", async () => {
    const custom = { mode: "custom" };
    const { config } = await loadedFrom(
      withProfile({ enabled: true, tools: custom, skills: custom }),
    );
    const { tools, skills } = config.agents.defaults.turn_profile ?? {};
    assert.deepEqual([tools, skills], [new Set(), new Set()]);
  });

  it("that is not enabled is not looked at", async () => {
    for (const profile of [{ history: { mode: "of" } }, { enabled: false, tools: { mode: 7 } }]) {
      const { config } = await loadedFrom(withProfile(profile));
      assert.equal(config.agents.defaults.turn_profile, undefined);
    }
  });

  it("reports tools that there are not", async () => {
    const tools = { mode: "custom", allow: ["read-file", "send_tts", "*"] };
    const loaded = await loadedFrom(withProfile({ enabled: true, tools }));
    const text = warningText(loaded);
    assert.match(text, /allow\[0\]: "read-file" is not a tool here.*write read_file/s);
    assert.match(text, /allow\[1\]: "send_tts" is not a tool here/);
    assert.match(text, /allow\[2\]: "\*" is not a tool here/);
  });

  it("with unknown keys is reported with the nearest", async () => {
    const loaded = await loadedFrom(
      withProfile({ enabled: true, tool: {}, skills: { allows: [] } }),
    );
    assert.match(warningText(loaded), /turn_profile\.tool: .*did you mean tools/);
    assert.match(warningText(loaded), /turn_profile\.skills\.allows: .*did you mean allow/);
  });

  for (const block of ["history", "system_prompt"]) {
    it(`has no list for ${block}`, async () => {
      const failure = await failureFrom(
        withProfile({ enabled: true, [block]: { mode: "custom" } }),
      );
      assert.match(
        allTextOf(failure),
        new RegExp(`${block}\\.mode: found "custom", allowed is default or off`),
      );
    });
  }

  it("with a mode that is none is a problem, not a profile that restricts nothing", async () => {
    const failure = await failureFrom(withProfile({ enabled: true, tools: { mode: "none" } }));
    assert.equal(failure.code, "config");
    const unsure = await failureFrom(withProfile({ enabled: "yes", tools: { mode: "off" } }));
    assert.match(allTextOf(unsure), /turn_profile\.enabled: found "yes"/);
  });
});
