import assert from "node:assert/strict";
import { it } from "node:test";
import { createReloadablePolicies } from "../../src/cli/runtime/reloadable-policies.ts";
import type { Config } from "../../src/config/contract.ts";
import { inHome } from "../config/home.ts";

const settings = { broker: "tcp://broker", agent_id: "kitchen", username: "u", password: "one" };

async function configOf(entry: object, more: object = {}): Promise<Config> {
  const channel_list = { mqtt: { enabled: true, type: "mqtt", ...entry } };
  const found: Config[] = [];
  await inHome({ "config.json": { version: 3, channel_list, ...more } }, async (home) => {
    const env = { PICOCLAW_AGENTS_DEFAULTS_WORKSPACE: "/workspace" };
    found.push((await home.loaded({ env })).config);
  });
  const [config] = found;
  assert.ok(config);
  return config;
}

const reloadableOf = (config: Config) =>
  createReloadablePolicies({ config, channels: config.channels });

it("access lists and limits are in effect for those who hold them", async () => {
  const { policies, limits, applyConfig } = reloadableOf(await configOf({ settings }));
  const policy = policies.get("mqtt");
  const total = policy?.totalLimits;
  const changed = {
    allow_from: ["a"],
    admin_from: ["b"],
    settings: {
      ...settings,
      limits: { burst: 7, total: { burst: 8 } },
      streaming: { interval_ms: 9 },
    },
  };
  const gateway = { limits: { tokens_per_day: 10 }, log_level: "warn" };
  assert.deepEqual(applyConfig(await configOf(changed, { gateway })), []);
  assert.equal(policies.get("mqtt"), policy);
  assert.deepEqual([policy?.allowFrom, policy?.adminFrom], [["a"], ["b"]]);
  assert.deepEqual([policy?.limits.burst, policy?.intervalMs, total?.burst], [7, 9, 8]);
  assert.equal(limits.tokens_per_day, 10);
});

it("what a reload put into effect holds when everything is opened anew", async () => {
  const config = await configOf({ settings });
  const changed = await configOf({ deny_from: ["a"], settings });
  const options = { config, channels: config.channels, reloaded: { config: changed } };
  const { policies } = createReloadablePolicies(options);
  assert.deepEqual(policies.get("mqtt")?.denyFrom, ["a"]);
});

it("every other change of channels and of the gateway is named, secrets too", async () => {
  const { applyConfig } = reloadableOf(await configOf({ settings }));
  const changed = {
    settings: { ...settings, password: "two", qos: 1, streaming: { progress_secs: 5 } },
  };
  const more = {
    gateway: { port: 1, limits: { queued: 3 } },
    agents: { defaults: { max_parallel_turns: 3, max_tokens: 5 } },
  };
  const needed = [
    "agents.defaults.max_parallel_turns",
    "channel_list.mqtt.settings.password",
    "channel_list.mqtt.settings.qos",
    "channel_list.mqtt.settings.streaming",
    "gateway.limits.queued",
    "gateway.port",
  ];
  assert.deepEqual(applyConfig(await configOf(changed, more)).toSorted(), needed);
});

it("a channel that comes or goes needs a restart; one that went is served on", async () => {
  const { policies, applyConfig } = reloadableOf(await configOf({ settings }));
  const keys = applyConfig(await configOf({ enabled: false, settings }));
  assert.ok(keys.includes("channel_list.mqtt"), keys.join());
  assert.ok(policies.has("mqtt"));
});
