import assert from "node:assert/strict";
import { chmod, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import { toolSettings } from "../support/agent-config.ts";
import { NO_LIMITS } from "../support/channel.ts";
import { runs } from "../support/runs.ts";
import {
  allTextOf,
  failureFrom,
  firstChannel,
  inHome,
  loadedFrom,
  mqttConfig,
  warningText,
} from "./home.ts";

const workspaceOf = async (written: string, env = {}): Promise<[string, string]> => {
  let found: [string, string] = ["", ""];
  const config = { agents: { defaults: { workspace: written } } };
  await inHome({ "config.json": config }, async (home) => {
    const loaded = await home.loaded({ env, cwd: "/somewhere" });
    found = [loaded.config.agents.defaults.workspace, home.user];
  });
  return found;
};

describe("a configuration that is not there", () => {
  it("is the defaults", async () => {
    await inHome({}, async (home) => {
      const { config, found, file, home: path, origins } = await home.loaded();
      assert.equal(found, false);
      assert.equal(file, home.file);
      assert.equal(path, home.path);
      assert.equal(origins.size, 0);
      assert.deepEqual(config, {
        agents: {
          defaults: {
            workspace: join(home.path, "workspace"),
            provider: "",
            model_name: "",
            max_tool_iterations: 50,
            max_parallel_turns: 0,
            turn_timeout_secs: 1800,
            max_llm_retries: 2,
            llm_retry_backoff_secs: 2,
            context_window: 0,
            summarize_message_threshold: 20,
            summarize_token_percent: 75,
            model_fallbacks: [],
            routing: { enabled: false, light_model: "", threshold: 0.35 },
            restrict_to_workspace: true,
            allow_read_outside_workspace: false,
          },
        },
        session: { dimensions: ["chat"] },
        tools: toolSettings(),
        heartbeat: { enabled: true, interval: 30 },
        gateway: {
          host: "localhost",
          port: 18_790,
          log_level: "info",
          dedupe_window_secs: 600,
          exclusive: false,
          page: { enabled: true },
          ollama: { enabled: false, channel: "" },
          mcp: { enabled: false, channel: "" },
          tokens: {},
          ignore_unsupported: [],
          limits: NO_LIMITS,
        },
        model_list: [],
        channels: [],
      });
    });
  });

  it("still has environment and flags", async () => {
    await inHome({}, async (home) => {
      const loaded = await home.loaded({
        env: { PICOCLAW_CHANNELS_MQTT_BROKER: "tcp://b", PICOCLAW_GATEWAY_PORT: "0" },
        flags: { agent: "a" },
      });
      assert.equal(loaded.config.gateway.port, 0);
      assert.deepEqual(firstChannel(loaded).settings.broker, ["tcp://b"]);
      assert.equal(firstChannel(loaded).settings.agent_id, "a");
    });
  });

  it("still has its .security.yml", async () => {
    const security = "channel_list: {mqtt: {settings: {username: u, password: 007}}}\n";
    await inHome({ ".security.yml": security }, async (home) => {
      const loaded = await home.loaded({
        env: { PICOCLAW_CHANNELS_MQTT_BROKER: "tcp://b", PICOCLAW_CHANNELS_MQTT_AGENT_ID: "a" },
      });
      assert.equal(firstChannel(loaded).settings.password?.reveal(), "007");
    });
  });
});

describe("the place of the configuration", () => {
  it("is $PICOCLAW_HOME, where ~ is the user's home", async () => {
    await inHome({ "../other/config.json": mqttConfig() }, async (home) => {
      const loaded = await home.loaded({ env: { PICOCLAW_HOME: "~/other" } });
      assert.equal(loaded.home, join(home.user, "other"));
      assert.equal(loaded.config.agents.defaults.workspace, join(home.user, "other/workspace"));
      assert.equal(loaded.found, true);
    });
  });

  it("is $PICOCLAW_CONFIG before that, with its own .security.yml", async () => {
    const files = {
      "config.json": mqttConfig({ agent_id: "wrong" }),
      ".security.yml": "channels: {mqtt: {username: wrong}}",
      "elsewhere/my.json": mqttConfig({ agent_id: "right" }),
      "elsewhere/.security.yml": "channels: {mqtt: {username: right}}",
    };
    await inHome(files, async (home) => {
      const env = { PICOCLAW_CONFIG: "elsewhere/my.json", PICOCLAW_HOME: "" };
      const loaded = await home.loaded({ env, cwd: home.path });
      assert.equal(loaded.file, join(home.path, "elsewhere/my.json"));
      assert.equal(loaded.home, home.path);
      assert.equal(firstChannel(loaded).settings.agent_id, "right");
      assert.equal(firstChannel(loaded).settings.username?.reveal(), "right");
    });
  });

  it("is reported as missing where $PICOCLAW_CONFIG names it", async () => {
    await inHome({}, async (home) => {
      const loaded = await home.loaded({ env: { PICOCLAW_CONFIG: "gone.json" } });
      assert.equal(loaded.found, false);
      assert.match(warningText(loaded), /PICOCLAW_CONFIG: .*gone\.json does not exist/);
    });
  });

  it("does not make an empty variable a path", async () => {
    await inHome({ "config.json": mqttConfig() }, async (home) => {
      const loaded = await home.loaded({ env: { PICOCLAW_HOME: "", PICOCLAW_CONFIG: "" } });
      assert.equal(loaded.file, home.file);
    });
  });
});

describe("the workspace", () => {
  it("may begin with ~", async () => {
    const [workspace, user] = await workspaceOf("~/.picoclaw/workspace");
    assert.equal(workspace, join(user, ".picoclaw/workspace"));
  });

  it("is relative to the folder of the file", async () => {
    const [workspace, user] = await workspaceOf("ws");
    assert.equal(workspace, join(user, ".picoclaw/ws"));
  });

  it("is relative to the working directory where a variable names it", async () => {
    const [workspace] = await workspaceOf("", { PICOCLAW_AGENTS_DEFAULTS_WORKSPACE: "ws" });
    assert.equal(workspace, "/somewhere/ws");
  });
});

describe("a file that cannot be read", () => {
  it("is named where it is a directory", async () => {
    await inHome({}, async (home) => {
      await mkdir(home.file);
      const failure = await home.failed();
      assert.match(allTextOf(failure), /config\.json cannot be read\nit is a directory/);
      await rm(home.file, { recursive: true });
    });
  });

  it("is named where permission is denied", async () => {
    await inHome({ "config.json": "{}", ".security.yml": "" }, async (home) => {
      await chmod(join(home.path, ".security.yml"), 0);
      const failure = await home.load();
      await chmod(join(home.path, ".security.yml"), 0o600);
      // Root may read everything.
      if (failure instanceof Failure) assert.match(allTextOf(failure), /\.security\.yml cannot be/);
    });
  });

  it("is named where it is a device, which could be read for ever", async () => {
    await inHome({}, async (home) => {
      const failure = await home.failed({ env: { PICOCLAW_CONFIG: "/dev/zero" } });
      assert.match(allTextOf(failure), /\/dev\/zero cannot be read\nit is not a regular file/);
    });
  });

  it("is named where it is far too large", async () => {
    const failure = await failureFrom(`{"a": "${"x".repeat(1_048_576)}"}`);
    assert.match(allTextOf(failure), /more than 1048576 bytes/);
  });

  it("is named where it is no UTF-8", async () => {
    const failure = await failureFrom(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]));
    assert.match(allTextOf(failure), /config\.json cannot be read\nit is not UTF-8/);
  });
});

describe("whatever the bytes of the files are", () => {
  const tokens = fc
    .array(
      fc.constantFrom(
        ..."{}[],:\"'#*&!|>%@`- \n\t\0\uFEFF".split(""),
        '"channel_list"',
        '"mqtt"',
        '"settings"',
        '"__proto__"',
        '"version"',
        '"enabled"',
        "channels",
        "model_list",
        "api_keys",
        "true",
        "null",
        "1e999",
        "<<",
        "*a",
        "&a",
        "//",
        "/*",
      ),
    )
    .map((parts) => new TextEncoder().encode(parts.join("")));
  const json = fc.json().map((text) => new TextEncoder().encode(text));
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }), tokens, json);

  it("loading gives a configuration or a failure, and never throws", async () => {
    await inHome({}, async (home) => {
      const { writeFile } = await import("node:fs/promises");
      const security = join(home.path, ".security.yml");
      await fc.assert(
        fc.asyncProperty(bytes, bytes, async (one, other) => {
          await writeFile(home.file, one);
          await writeFile(security, other);
          const first = await home.load();
          if (first instanceof Failure) assert.equal(first.code, "config");
          await writeFile(home.file, JSON.stringify(mqttConfig()));
          const second = await home.load();
          if (second instanceof Failure) assert.equal(second.code, "config");
        }),
        { numRuns: runs(300) },
      );
      await rm(home.file);
      await rm(security);
    });
  });

  const nested = ["[", '{"a":', "- ", "a: ", "&a [*a, ", "{a: ", "? "];
  for (const opening of nested) {
    it(`${JSON.stringify(opening)} a hundred thousand times is no exception`, async () => {
      const text = opening.repeat(100_000 / opening.length);
      await failureFrom(text);
      await inHome({ ".security.yml": text }, async (home) => {
        assert.ok((await home.load()) !== undefined);
      });
    });
  }

  it("what is nested deeper than any configuration is refused on every runtime alike", async () => {
    const failure = await failureFrom(`{"a": ${"[".repeat(120)}${"]".repeat(120)}}`);
    assert.match(failure.message, /nested more than 100 levels deep/);
  });

  it("aliases of aliases of aliases end", async () => {
    const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
    for (let level = 1; level < 30; level += 1) {
      lines.push(`a${level}: &a${level} [${`*a${level - 1}, `.repeat(10)}]`);
    }
    const failure = await failureFrom("{}", { security: lines.join("\n") });
    assert.match(allTextOf(failure), /aliases of aliases/);
  });

  it("keys that mean something to JavaScript are just keys", async () => {
    const text = `{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}},
      "channel_list": {"__proto__": {"enabled": true, "type": "mqtt", "settings":
        {"broker": "tcp://b", "agent_id": "a", "__proto__": {"qos": 2}}}},
      "model_list": [{"model_name": "m", "model": "m", "extra_body": {"__proto__": {"x": 1}},
        "custom_headers": {"__proto__": "x"}}]}`;
    const loaded = await loadedFrom(text);
    assert.equal(firstChannel(loaded).name, "__proto__");
    assert.equal(firstChannel(loaded).settings.qos, 0);
    assert.equal(JSON.stringify(loaded.config.model_list[0]?.extra_body), '{"__proto__":{"x":1}}');
    assert.equal(
      Object.hasOwn(loaded.config.model_list[0]?.custom_headers ?? {}, "__proto__"),
      true,
    );
    assert.equal("polluted" in {}, false);
    assert.match(warningText(loaded), /constructor: is not a known key/);
  });
});
