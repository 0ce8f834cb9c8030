import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { allTextOf, inHome, loadedFrom, mqttConfig, warningText } from "./home.ts";

/** What restricts the agent in the Go program, and the key that is refused by name. */
const RESTRICTIONS: readonly (readonly [more: object, key: string])[] = [
  [{ isolation: { enabled: true } }, "isolation.enabled"],
  [{ isolation: { enabled: 1 } }, "isolation.enabled"],
  [{ isolation: { enabled: false, environment_allowlist: [] } }, "isolation.environment_allowlist"],
  [
    {
      agents: {
        dispatch: { rules: [{ name: "guests", agent: "guest", when: { channel: "mqtt" } }] },
      },
    },
    "agents.dispatch.rules",
  ],
  [{ agents: { list: [{ id: "guest", workspace: "/srv/guest" }] } }, "agents.list[0].workspace"],
  [{ agents: { list: [{ id: "a" }, { id: "guest", skills: [] }] } }, "agents.list[1].skills"],
  [{ agents: { list: [{ id: "guest", tools: { allow: ["x"] } }] } }, "agents.list[0].tools"],
  [
    { agents: { list: [{ id: "guest", subagents: { allow_agents: ["a"] } }] } },
    "agents.list[0].subagents",
  ],
  [
    { agents: { defaults: { subturn: { default_token_budget: 1000 } } } },
    "agents.defaults.subturn.default_token_budget",
  ],
  [{ agents: { defaults: { subturn: { max_depth: 1 } } } }, "agents.defaults.subturn.max_depth"],
  [
    { agents: { defaults: { subturn: { max_concurrent: 1 } } } },
    "agents.defaults.subturn.max_concurrent",
  ],
  [
    { agents: { defaults: { subturn: { default_timeout_minutes: 4 } } } },
    "agents.defaults.subturn.default_timeout_minutes",
  ],
  [{ agents: { list: { guest: { workspace: "/srv/guest" } } } }, "agents.list"],
  [{ hooks: { builtins: { guard: { enabled: true } } } }, "hooks.builtins.guard"],
  [
    {
      hooks: {
        enabled: true,
        processes: {
          gate: { enabled: true, command: ["gate"], intercept: ["approve_tool", "before_llm"] },
        },
      },
    },
    "hooks.processes.gate.intercept",
  ],
];

/** What gives the agent of the Go program something that this one has not. */
const ADDITIONS: readonly (readonly [more: object, key: string])[] = [
  [{ gateway: { hot_reload: true } }, "gateway.hot_reload"],
  [{ devices: { enabled: true, monitor_usb: true } }, "devices.enabled"],
  [{ evolution: { enabled: true } }, "evolution.enabled"],
  [{ voice: { model_name: "whisper" } }, "voice.model_name"],
  [{ session: { identity_links: { me: ["mqtt:a", "telegram:7"] } } }, "session.identity_links"],
  [{ tools: { i2c: { enabled: true } } }, "tools.i2c.enabled"],
  [{ tools: { web: { kagi: { enabled: true, api_keys: ["k"] } } } }, "tools.web.kagi.enabled"],
  [{ tools: { web: { provider: "perplexity" } } }, "tools.web.provider"],
  [{ agents: { defaults: { image_model: "m" } } }, "agents.defaults.image_model"],
  [{ agents: { defaults: { steering_mode: "all" } } }, "agents.defaults.steering_mode"],
  [
    { agents: { defaults: { tool_feedback: { enabled: true } } } },
    "agents.defaults.tool_feedback.enabled",
  ],
  [{ agents: { defaults: { context_manager: "seahorse" } } }, "agents.defaults.context_manager"],
  [{ agents: { list: [{ id: "main", default: true, model: "m" }] } }, "agents.list"],
];

/** A model, so that nothing is said of none. */
const MODEL = { model_list: [{ model_name: "m", model: "ollama/m" }] };

describe("what restricts the agent of the Go program and is not built here", () => {
  for (const [more, key] of RESTRICTIONS) {
    it(`refuses the start: ${key}`, async () => {
      await inHome({ "config.json": mqttConfig({}, { ...MODEL, ...more }) }, async (home) => {
        const { refusal } = await home.loaded();
        assert.ok(refusal);
        assert.equal(refusal.code, "config");
        assert.ok(refusal.message.startsWith(home.file), refusal.message);
        assert.ok(refusal.message.includes(`: ${key}: `), refusal.message);
        assert.ok(refusal.remedy?.includes(`"${key}" to gateway.ignore_unsupported`));
      });
    });

    it(`is a warning where somebody ignores it: ${key}`, async () => {
      for (const name of [key, key.replace(/[.[][^.[]*$/, "")]) {
        const gateway = { ignore_unsupported: [name] };
        const loaded = await loadedFrom(mqttConfig({}, { ...MODEL, ...more, gateway }));
        assert.equal(loaded.refusal, undefined);
        assert.equal(loaded.warnings.length, 1);
        assert.ok(warningText(loaded).includes(`: ${key}: `), warningText(loaded));
      }
    });
  }

  it("refuses the start: bindings of older versions to a separate agent", async () => {
    const list = [{ id: "main", default: true }, { id: "Guest" }];
    const bound = (agent_id: string, match: object) => ({
      ...MODEL,
      version: 2,
      agents: { list },
      bindings: [{ agent_id: "main" }, { agent_id, match }],
    });
    for (const match of [{ channel: "MQTT", peer: { kind: "direct", id: "a" } }, {}]) {
      const { refusal } = await loadedFrom(mqttConfig({}, bound("guest", match)));
      assert.match(refusal?.message ?? "", /: bindings\[1\]: routes requests to separate agents/);
    }
    for (const [id, channel] of [
      ["guest", "telegram"],
      ["main", "mqtt"],
      ["gone", "mqtt"],
    ] as const) {
      const loaded = await loadedFrom(mqttConfig({}, bound(id, { channel })));
      assert.equal(loaded.refusal, undefined);
      assert.doesNotMatch(warningText(loaded), /bindings/);
    }
  });

  it("is reported in one go", async () => {
    const more = {
      isolation: { enabled: true },
      agents: { list: [{ id: "guest", workspace: "/srv/guest" }] },
      hooks: { builtins: { guard: { enabled: true } } },
      gateway: { ignore_unsupported: ["isolation"] },
    };
    const { refusal } = await loadedFrom(mqttConfig({}, more));
    assert.ok(refusal);
    assert.match(refusal.message, /^2 restrictions in .*config\.json are not built here/);
    assert.match(refusal.why ?? "", /agents\.list\[0\]\.workspace.*\n.*hooks\.builtins\.guard/);
    assert.doesNotMatch(allTextOf(refusal), /isolation/);
  });

  it("is nothing where it is switched off", async () => {
    const more = {
      ...MODEL,
      isolation: { enabled: false, expose_paths: [] },
      agents: {
        list: [],
        dispatch: { rules: [] },
        defaults: {
          subturn: {
            max_depth: 3,
            max_concurrent: 0,
            default_token_budget: 0,
            default_timeout_minutes: 5,
          },
        },
      },
      hooks: {
        enabled: true,
        builtins: { guard: { enabled: false } },
        processes: {
          off: { enabled: false, intercept: ["before_llm"] },
          ours: { enabled: true, command: ["ours"], intercept: ["before_tool", "approve_tool"] },
        },
      },
    };
    const loaded = await loadedFrom(mqttConfig({}, more));
    assert.equal(loaded.refusal, undefined);
    assert.equal(warningText(loaded), "");
    const hooks = { enabled: false, builtins: { guard: { enabled: true } } };
    assert.equal((await loadedFrom(mqttConfig({}, { hooks }))).refusal, undefined);
  });

  it("names that ignore nothing are warned of", async () => {
    const gateway = { ignore_unsupported: ["isolation", "isol"] };
    const more = { ...MODEL, isolation: { enabled: true }, gateway };
    const text = warningText(await loadedFrom(mqttConfig({}, more)));
    assert.match(text, /ignore_unsupported: "isol" is not a restriction/);
    assert.doesNotMatch(text, /"isolation" names/);
  });
});

describe("what the Go program adds and is not built here", () => {
  for (const [more, key] of ADDITIONS) {
    it(`is one warning: ${key}`, async () => {
      const loaded = await loadedFrom(mqttConfig({}, { ...MODEL, ...more }));
      assert.equal(loaded.refusal, undefined);
      assert.deepEqual(
        loaded.warnings.map(({ message }) => message.replace(/^.*?:\d+: /, "")),
        [`${key}: has no effect here`],
      );
    });
  }

  it("is one warning of a channel's reasoning_channel_id", async () => {
    const settings = { broker: "tcp://b", agent_id: "a" };
    const mqtt = { enabled: true, reasoning_channel_id: "mqtt:x", group_trigger: {}, settings };
    const loaded = await loadedFrom({ ...MODEL, channel_list: { mqtt } });
    assert.match(warningText(loaded), /mqtt\.reasoning_channel_id: has no effect here/);
    assert.equal(loaded.warnings.length, 1);
  });
});
