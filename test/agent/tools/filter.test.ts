import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Tool } from "../../../src/agent/tools/contract.ts";
import { createSecretFilter, withFilter } from "../../../src/agent/tools/run.ts";
import { createRedactor } from "../../../src/base/redaction/redactor.ts";
import { Secret } from "../../../src/base/secret.ts";
import type { Config, ToolSettings } from "../../../src/config/contract.ts";
import { secretsIn } from "../../../src/config/secrets.ts";
import { callContext, modelEntry, toolSettings } from "../../support/agent-config.ts";
import { channelFor } from "../../support/channel.ts";

function filterFor(keys: readonly string[], settings: Partial<ToolSettings> = {}) {
  const config = {
    model_list: [modelEntry({ api_keys: keys })],
    channels: [],
    tools: toolSettings({ filter_min_length: 0, ...settings }),
  };
  return filterOf(config);
}

function filterOf(config: Pick<Config, "model_list" | "channels" | "tools">) {
  return createSecretFilter(createRedactor(secretsIn(config)), config.tools);
}

describe("secrets of the configuration", () => {
  const filter = filterOf({
    model_list: [
      modelEntry({
        api_keys: ["sk-one", "sk-two"],
        custom_headers: {
          "X-Api-Key": "header-key",
          Authorization: "Bearer abcd1234",
          Accept: "text/html",
        },
        proxy: "http://me:p%40ss@proxy.test:8080",
        api_base: "https://user:base-word@models.test/v1",
      }),
    ],
    channels: [
      channelFor("mqtt://me:broker-word@127.0.0.1:1883", {
        username: new Secret("username"),
        password: new Secret("hunter22"),
      }),
    ],
    tools: toolSettings({
      web: {
        ...toolSettings().web,
        brave: { enabled: false, max_results: 5, api_keys: [new Secret("brave-key")] },
        searxng: { enabled: false, max_results: 5, base_url: "http://me:find-word@find.test" },
        tavily: {
          enabled: false,
          max_results: 5,
          api_keys: [new Secret("tvly-key")],
          base_url: "",
        },
      },
    }),
  });

  for (const [text, expected] of [
    ["keys sk-one,sk-two.", "keys [FILTERED],[FILTERED]."],
    ["X-Api-Key: header-key", "X-Api-Key: [FILTERED]"],
    ["Authorization: Bearer abcd1234 abcd1234", "Authorization: [FILTERED] [FILTERED]"],
    ["password hunter22 of username", "password [FILTERED] of username"],
    ["base-word broker-word find-word", "[FILTERED] [FILTERED] [FILTERED]"],
    ["proxy p@ss, p%40ss", "proxy [FILTERED], [FILTERED]"],
    ["brave-key tvly-key text/html", "[FILTERED] [FILTERED] text/html"],
    ["sk-", "sk-"],
  ] as const) {
    it(`are taken out: ${text}`, () => assert.equal(filter(text), expected));
  }

  it("are taken out in base64, wherever they stand in it", () => {
    for (const before of ["", "a", "ab", "user:"]) {
      for (const encoding of ["base64", "base64url"] as const) {
        const text = Buffer.from(`${before}hunter22??>and more`).toString(encoding);
        assert.match(filter(`x ${text}`), /\[FILTERED\]/);
      }
    }
  });

  it("are left where the settings say so, or the text or the secret is short", () => {
    assert.equal(filterFor(["sk-one"], { filter_sensitive_data: false })("sk-one"), "sk-one");
    assert.equal(filterFor(["sk-one"], { filter_min_length: 7 })("sk-one"), "sk-one");
    assert.equal(filterFor(["sk-one"], { filter_min_length: 6 })("sk-one"), "[FILTERED]");
    assert.equal(filterFor(["abc", ""])("abc"), "abc");
  });
});

describe("a tool behind the filter", () => {
  const filter = filterFor(["sk-secret"]);
  const toolThat = (run: Tool["run"]): Tool =>
    withFilter({ name: "t", description: "d", parameters: {}, characters: 7, run }, filter);

  it("has results without secrets, and is else the same", async () => {
    const tool = toolThat(async (input) => `${String(input)} sk-secret`);
    assert.equal(await tool.run("key", callContext()), "key [FILTERED]");
    assert.deepEqual([tool.name, tool.characters], ["t", 7]);
  });

  it("throws without secrets, and the same thing where there were none", async () => {
    const shown = toolThat(() => Promise.reject(new Error("bad sk-secret")));
    await assert.rejects(
      shown.run({}, callContext()),
      (thrown) => String(thrown) === "Error: bad [FILTERED]",
    );
    const fault = new TypeError("no");
    const plain = toolThat(() => Promise.reject(fault));
    await assert.rejects(plain.run({}, callContext()), (thrown) => thrown === fault);
    const reason = new Error("stop");
    const stopped = toolThat(() => Promise.reject(new Error("sk-secret")));
    await assert.rejects(
      stopped.run({}, callContext(AbortSignal.abort(reason))),
      (thrown) => thrown === reason,
    );
  });
});
