import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { Tool } from "../../src/agent/tools/contract.ts";
import { createSecretFilter, withFilter } from "../../src/agent/tools/filter.ts";
import { Secret } from "../../src/base/secret.ts";
import type { ToolSettings } from "../../src/config/contract.ts";
import { callFacts, modelEntry, toolSettings } from "../support/agent-config.ts";
import { channelFor } from "../support/channel.ts";

function filterFor(keys: readonly string[], settings: Partial<ToolSettings> = {}) {
  const config = {
    model_list: [modelEntry({ api_keys: keys })],
    channels: [],
    tools: toolSettings({ filter_min_length: 0, ...settings }),
  };
  return createSecretFilter({ config });
}

describe("secrets of the configuration", () => {
  const filter = createSecretFilter({
    config: {
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
    },
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

  it("that overlap or hold one another leave nothing behind", () => {
    assert.equal(filterFor(["abcdef", "defghi"])("1abcdefghi2"), "1[FILTERED]2");
    assert.equal(filterFor(["abcd", "abcdef"])("abcdef abcd"), "[FILTERED] [FILTERED]");
    assert.equal(filterFor(["aaaa"])("aaaaaa"), "[FILTERED]");
  });
});

describe("any secret", () => {
  const secret = fc
    .string({ unit: "grapheme", minLength: 4, maxLength: 40 })
    .filter((text) => text === text.trim() && !"[FILTERED]".includes(text));
  const around = fc.stringMatching(/^[<> ]{0,5}$/);
  const spellings: readonly ((text: string) => string)[] = [
    (text) => text,
    (text) => JSON.stringify(text),
    (text) => encodeURIComponent(text),
    (text) => new URLSearchParams({ key: text }).toString(),
    (text) => Buffer.from(text).toString("base64"),
    (text) => Buffer.from(text).toString("base64url"),
  ];

  it("is in no text that was filtered, in any of its spellings", () => {
    fc.assert(
      fc.property(fc.array(secret, { minLength: 1, maxLength: 4 }), around, (secrets, gap) => {
        const filter = filterFor(secrets);
        for (const one of secrets) {
          for (const spelt of spellings) {
            const text = filter(`${gap}${spelt(one)}${gap}`);
            assert.ok(text.includes("[FILTERED]"), text);
            assert.ok(!text.includes(spelt(one)));
          }
        }
      }),
    );
  });

  it("leaves a text without it as it is", () => {
    const words = fc.stringMatching(/^[a-z .]{0,200}$/);
    fc.assert(
      fc.property(words, (text) => {
        assert.equal(filterFor(["SK-0123456789-ABC", "PASSWORD#1"])(text), text);
      }),
    );
  });
});

describe("a tool behind the filter", () => {
  const filter = filterFor(["sk-secret"]);
  const toolThat = (run: Tool["run"]): Tool =>
    withFilter({ name: "t", description: "d", parameters: {}, characters: 7, run }, filter);

  it("has results without secrets, and is else the same", async () => {
    const tool = toolThat(async (input) => `${String(input)} sk-secret`);
    assert.equal(await tool.run("key", callFacts()), "key [FILTERED]");
    assert.deepEqual([tool.name, tool.characters], ["t", 7]);
  });

  it("throws without secrets, and the same thing where there were none", async () => {
    const told = toolThat(() => Promise.reject(new Error("bad sk-secret")));
    await assert.rejects(
      told.run({}, callFacts()),
      (thrown) => String(thrown) === "Error: bad [FILTERED]",
    );
    const fault = new TypeError("no");
    const plain = toolThat(() => Promise.reject(fault));
    await assert.rejects(plain.run({}, callFacts()), (thrown) => thrown === fault);
    const reason = new Error("stop");
    const stopped = toolThat(() => Promise.reject(new Error("sk-secret")));
    await assert.rejects(
      stopped.run({}, callFacts(AbortSignal.abort(reason))),
      (thrown) => thrown === reason,
    );
  });
});
