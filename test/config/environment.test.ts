import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AGENTS } from "../../src/config/keys/agents.ts";
import { keysIn } from "../../src/config/keys/key.ts";
import { NO_LIMITS } from "../support/channel.ts";
import {
  failureFrom,
  firstChannel,
  loadedFrom,
  mqttConfig,
  originText,
  warningText,
} from "./home.ts";

const MQTT = "PICOCLAW_CHANNELS_MQTT_";
const DEFAULTS = "PICOCLAW_AGENTS_DEFAULTS_";

describe("environment variables of channels", () => {
  const env = {
    [`${MQTT}BROKER`]: "mqtts://b",
    [`${MQTT}AGENT_ID`]: "007",
    [`${MQTT}TOPIC_PREFIX`]: "/p/",
    [`${MQTT}USERNAME`]: "u",
    [`${MQTT}PASSWORD`]: "0123e5",
    [`${MQTT}CLIENT_ID`]: "true",
    [`${MQTT}KEEP_ALIVE`]: "15",
    [`${MQTT}QOS`]: "2",
  };

  it("make an enabled channel mqtt where the file has none", async () => {
    const loaded = await loadedFrom(
      { version: 3, channel_list: { telegram: { enabled: false } } },
      { env },
    );
    const { name, settings } = firstChannel(loaded);
    assert.equal(name, "mqtt");
    assert.deepEqual(settings.broker, ["mqtts://b"]);
    assert.equal(settings.agent_id, "007");
    assert.equal(settings.topic_prefix, "/p");
    assert.equal(settings.username?.reveal(), "u");
    assert.equal(settings.password?.reveal(), "0123e5");
    assert.equal(settings.client_id, "true");
    assert.equal(settings.keep_alive, 15);
    assert.equal(settings.qos, 2);
    assert.equal(originText(loaded, "channel_list.mqtt.enabled"), `environment ${MQTT}BROKER`);
  });

  it("apply to every channel of type mqtt", async () => {
    const settings = { broker: "tcp://b", agent_id: "a" };
    const channel_list = {
      one: { type: "mqtt", enabled: true, settings },
      mqtt: { enabled: true, settings: { ...settings, agent_id: "b" } },
      off: { type: "mqtt", enabled: false },
    };
    const { config } = await loadedFrom({ channel_list }, { env: { [`${MQTT}QOS`]: "1" } });
    assert.deepEqual(
      config.channels.map(({ name, settings: { qos } }) => [name, qos]),
      [
        ["one", 1],
        ["mqtt", 1],
      ],
    );
  });

  it("do not enable what the file has disabled", async () => {
    const channel_list = {
      mqtt: { enabled: false, settings: { broker: "tcp://b", agent_id: "a" } },
    };
    assert.deepEqual((await loadedFrom({ channel_list }, { env })).config.channels, []);
  });

  it("that do not parse are errors that name the variable, once", async () => {
    const channel_list = {
      one: { type: "mqtt", enabled: true, settings: { broker: "tcp://b", agent_id: "a" } },
      two: { type: "mqtt", enabled: true, settings: { broker: "tcp://b", agent_id: "b" } },
    };
    const failure = await failureFrom({ channel_list }, { env: { [`${MQTT}QOS`]: "3" } });
    assert.equal(failure.message, `environment ${MQTT}QOS: found "3", allowed is 0, 1 or 2`);
    assert.equal(failure.why, undefined);
  });

  it("that do not parse are errors even where nothing comes to use them", async () => {
    const channel_list = { mqtt: { enabled: false } };
    const failure = await failureFrom({ channel_list }, { env: { [`${MQTT}KEEP_ALIVE`]: "soon" } });
    assert.match(failure.message, /^environment PICOCLAW_CHANNELS_MQTT_KEEP_ALIVE: found "soon"/);
  });

  it("do not cover what is wrong in a file", async () => {
    const variables = { [`${MQTT}BROKER`]: "tcp://b", [`${DEFAULTS}PROVIDER`]: "x" };
    const config = { channel_list: { mqtt: { enabled: true, settings: "x" } }, agents: [] };
    const security = "channels: {mqtt: {password: p}}";
    const failure = await failureFrom(config, { env: variables, security });
    assert.match(failure.why ?? "", /mqtt\.settings: found text, allowed is an object/);
    assert.match(failure.why ?? "", /agents: found a list, allowed is an object/);
  });

  it("say what is missing where they make a channel of half the settings", async () => {
    const failure = await failureFrom({}, { env: { [`${MQTT}BROKER`]: "tcp://b" } });
    assert.match(
      failure.message,
      /channel mqtt has no agent_id: set .*PICOCLAW_CHANNELS_MQTT_AGENT_ID or --agent/,
    );
  });

  it("that are unknown are reported, with the nearest", async () => {
    const warnings = warningText(
      await loadedFrom(mqttConfig(), {
        env: {
          [`${MQTT}BROKR`]: "x",
          [`${MQTT}ENABLED`]: "true",
          [`${DEFAULTS}MAX_TOKEN`]: "1",
          [`${DEFAULTS}TOOL_FEEDBACK_ENABLED`]: "true",
          [`${DEFAULTS}STEERING_MODE`]: "all",
          [`${MQTT}SECRET`]: "",
        },
      }),
    );
    assert.match(
      warnings,
      /environment PICOCLAW_CHANNELS_MQTT_BROKR is unknown.* did you mean PICOCLAW_CHANNELS_MQTT_BROKER\?/,
    );
    assert.match(warnings, /MQTT_ENABLED is unknown/);
    assert.match(
      warnings,
      /MAX_TOKEN is unknown.* did you mean PICOCLAW_AGENTS_DEFAULTS_MAX_TOKENS\?/,
    );
    assert.doesNotMatch(warnings, /TOOL_FEEDBACK|STEERING|SECRET/);
  });
});

describe("other environment variables", () => {
  it("set every field of agents.defaults", async () => {
    const values: Record<string, [text: string, value: unknown]> = {
      workspace: ["/w", "/w"],
      provider: ["openai", "openai"],
      model_name: ["m", "m"],
      max_tokens: ["5", 5],
      temperature: ["0.5", 0.5],
      max_tool_iterations: ["7", 7],
      max_parallel_turns: ["3", 3],
      turn_timeout_secs: ["60", 60],
      max_llm_retries: ["0", 0],
      llm_retry_backoff_secs: ["1.5", 1.5],
      context_window: ["9000", 9000],
      summarize_message_threshold: ["30", 30],
      summarize_token_percent: ["50", 50],
      restrict_to_workspace: ["false", false],
      allow_read_outside_workspace: ["true", true],
    };
    const inTable = keysIn(AGENTS.rows.defaults).filter(({ key }) => key.variable === true);
    assert.deepEqual(
      Object.keys(values),
      inTable.map(({ path }) => path.join(".")),
    );
    const env = Object.fromEntries(
      Object.entries(values).map(([key, [text]]) => [DEFAULTS + key.toUpperCase(), text]),
    );
    const expected = Object.fromEntries(
      Object.entries(values).map(([key, [, value]]) => [key, value]),
    );
    const model_list = [{ model_name: "m", model: "openai/m", api_keys: ["k"] }];
    const { config } = await loadedFrom({ model_list }, { env });
    const { model_fallbacks, routing, ...defaults } = config.agents.defaults;
    assert.deepEqual(defaults, expected);
    assert.deepEqual(model_fallbacks, []);
    assert.deepEqual(routing, { enabled: false, light_model: "", threshold: 0.35 });
  });

  it("switch tools off and on, and set their bounds", async () => {
    const names =
      `exec read_file write_file edit_file append_file list_dir web_fetch web subagent spawn
      spawn_status device memory skills`.split(/\s+/);
    const env = {
      ...Object.fromEntries(
        names.map((name) => [`PICOCLAW_TOOLS_${name.toUpperCase()}_ENABLED`, "0"]),
      ),
      PICOCLAW_TOOLS_EXEC_ENABLE_DENY_PATTERNS: "false",
      PICOCLAW_TOOLS_EXEC_ALLOW_REMOTE: "F",
      PICOCLAW_TOOLS_EXEC_TIMEOUT_SECONDS: "7",
      PICOCLAW_TOOLS_FILTER_SENSITIVE_DATA: "false",
      PICOCLAW_TOOLS_FILTER_MIN_LENGTH: "20",
    };
    const loaded = await loadedFrom({ tools: { exec: { allow_remote: true } } }, { env });
    const { off, exec, filter_sensitive_data, filter_min_length } = loaded.config.tools;
    const expected = names.map((name) => (name === "web" ? "web_search" : name));
    assert.deepEqual([...off].toSorted(), expected.toSorted());
    assert.deepEqual(
      [exec.enable_deny_patterns, exec.allow_remote, exec.timeout_seconds],
      [false, false, 7],
    );
    assert.deepEqual([filter_sensitive_data, filter_min_length], [false, 20]);
    assert.equal(warningText(loaded).includes("PICOCLAW_TOOLS"), false);
    const on = { PICOCLAW_TOOLS_EXEC_ENABLED: "true", PICOCLAW_TOOLS_SPAWN_ENABLED: "" };
    const tools = { exec: { enabled: false }, spawn: { enabled: false } };
    const { config } = await loadedFrom({ tools }, { env: on });
    assert.deepEqual([...config.tools.off], ["spawn"]);
  });

  it("hold several patterns with commas between them, as in Go PicoClaw", async () => {
    const env = {
      PICOCLAW_TOOLS_EXEC_CUSTOM_DENY_PATTERNS: "^curl,wget",
      PICOCLAW_TOOLS_EXEC_CUSTOM_ALLOW_PATTERNS: "^git push$",
      PICOCLAW_TOOLS_ALLOW_READ_PATHS: "^/srv/,^/var/log/",
      PICOCLAW_TOOLS_ALLOW_WRITE_PATHS: "^/srv/jobs/",
    };
    const loaded = await loadedFrom({}, { env });
    const { exec, allow_read_paths, allow_write_paths } = loaded.config.tools;
    assert.deepEqual(exec.custom_deny_patterns, ["^curl", "wget"]);
    assert.deepEqual(exec.custom_allow_patterns, ["^git push$"]);
    assert.deepEqual(allow_read_paths, ["^/srv/", "^/var/log/"]);
    assert.deepEqual(allow_write_paths, ["^/srv/jobs/"]);
    assert.doesNotMatch(warningText(loaded), /unknown/);
    const wrong = { PICOCLAW_TOOLS_EXEC_CUSTOM_DENY_PATTERNS: "a,(" };
    assert.match((await failureFrom({}, { env: wrong })).message, /CUSTOM_DENY_PATTERNS: found/);
  });

  it("of tools that are wrong or unknown are reported", async () => {
    const wrong = { PICOCLAW_TOOLS_EXEC_ALLOW_REMOTE: "no" };
    const failure = await failureFrom({}, { env: wrong });
    assert.equal(
      failure.message,
      'environment PICOCLAW_TOOLS_EXEC_ALLOW_REMOTE: found "no", allowed is true or false',
    );
    const env = {
      PICOCLAW_TOOLS_EXECC_ENABLED: "false",
      PICOCLAW_TOOLS_EXEC_CUSTOM_PATTERNS: "x",
      PICOCLAW_TOOLS_CRON_ALLOW_COMMAND: "true",
      PICOCLAW_TOOLS_MCP_ENABLED: "true",
      PICOCLAW_TOOLS_WEB_KAGI_ENABLED: "true",
    };
    const warnings = warningText(await loadedFrom({}, { env }));
    assert.match(warnings, /EXECC_ENABLED is unknown.*did you mean PICOCLAW_TOOLS_EXEC_ENABLED\?/);
    assert.match(warnings, /CUSTOM_PATTERNS is unknown/);
    assert.doesNotMatch(warnings, /CRON|MCP|KAGI/);
  });

  it("set the gateway", async () => {
    const env = {
      PICOCLAW_LOG_LEVEL: "DEBUG",
      PICOCLAW_GATEWAY_HOST: "0.0.0.0",
      PICOCLAW_GATEWAY_PORT: "8080",
    };
    const loaded = await loadedFrom({ gateway: { log_level: "warn", port: 1 } }, { env });
    assert.deepEqual(loaded.config.gateway, {
      host: "0.0.0.0",
      port: 8080,
      log_level: "debug",
      dedupe_window_secs: 600,
      exclusive: false,
      page: { enabled: true },
      ollama: { enabled: false, channel: "" },
      mcp: { enabled: false, channel: "" },
      tokens: {},
      ignore_unsupported: [],
      limits: NO_LIMITS,
    });
    assert.equal(originText(loaded, "gateway.port"), "environment PICOCLAW_GATEWAY_PORT");
  });

  it("that do not parse are all reported at once", async () => {
    const failure = await failureFrom(
      { gateway: { host: "a b" } },
      {
        env: {
          PICOCLAW_LOG_LEVEL: "loud",
          PICOCLAW_GATEWAY_PORT: "http",
          [`${DEFAULTS}TEMPERATURE`]: "hot",
        },
      },
    );
    assert.equal(failure.message, "4 values of the configuration are wrong");
    assert.equal(failure.why?.split("\n").length, 4);
    assert.match(failure.why ?? "", /config\.json:3: gateway\.host: found "a b"/);
    assert.match(
      failure.why ?? "",
      /PICOCLAW_LOG_LEVEL: found "loud", allowed is debug, info, warn or error/,
    );
    assert.match(
      failure.why ?? "",
      /PICOCLAW_GATEWAY_PORT: found "http", allowed is a whole number from 0 to 65535/,
    );
    assert.match(
      failure.why ?? "",
      /DEFAULTS_TEMPERATURE: found "hot", allowed is a number from 0 to 2/,
    );
  });
});
