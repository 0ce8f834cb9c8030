import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  allTextOf,
  failureFrom,
  firstChannel,
  loadedFrom,
  mqttConfig,
  warningText,
} from "./home.ts";

const passwordOf = async (yaml: string): Promise<string | undefined> => {
  const security = `channel_list:\n  mqtt:\n    settings:\n      username: u\n      password: ${yaml}\n`;
  const loaded = await loadedFrom(mqttConfig(), { security });
  return firstChannel(loaded).settings.password?.reveal();
};

describe("config.json", () => {
  it("may have comments, trailing commas and a byte order mark", async () => {
    const { config } = await loadedFrom(`\uFEFF// the kitchen
      { /* port
           of health */ "gateway": { "port": 1234, }, // here
        "model_list": [ { "model_name": "m", "model": "openai/m", "api_keys": ["k",], }, ], }`);
    assert.equal(config.gateway.port, 1234);
    assert.equal(config.model_list[0]?.api_keys.length, 1);
  });

  it("takes the last of equal keys, and says so", async () => {
    const loaded = await loadedFrom('{"gateway": {\n"port": 1,\n"port": 2}}');
    assert.equal(loaded.config.gateway.port, 2);
    assert.match(warningText(loaded), /config\.json:3: port is there twice in one object/);
  });

  it("may have tabs in its texts", async () => {
    const { config } = await loadedFrom('{"model_list": [{"model_name": "a\tb", "model": "m/m"}]}');
    assert.equal(config.model_list[0]?.model_name, "a\tb");
  });

  it("takes null for no value", async () => {
    const { config } = await loadedFrom(
      '{"gateway": {"port": null}, "agents": null, "model_list": null}',
    );
    assert.equal(config.gateway.port, 18_790);
  });
});

describe("config.json that is no JSON", () => {
  const table: readonly [text: string, place: string, found: string, expected?: string][] = [
    ["", "1:1", "the end of the file", "a value"],
    ["// nothing\n", "2:1", "the end of the file", "a value"],
    ["{", "1:2", "the end of the file", "a key in double quotes or } (for line 1)"],
    ['{"a": 1', "1:8", "the end of the file", "a comma or } (for line 1)"],
    ['{\n"a": {\n"b": 1\n', "4:1", "the end of the file", "a comma or } (for line 2)"],
    ['{"a" 1}', "1:6", "a number", "a colon after the key"],
    ['{"a": 1\n "b": 2}', "2:2", "a text", "a comma or } (for line 1)"],
    ['{"a": }', "1:7", "}", "a value"],
    ['{"a": tru}', "1:7", "a word without quotes", "a value"],
    ["{a: 1}", "1:2", "a word without quotes", "a key in double quotes or } (for line 1)"],
    ["{'a': 1}", "1:2", "a single quote", "a key in double quotes or } (for line 1)"],
    ['{"a": 01}', "1:7", "a number", "a value"],
    ['{"a": .5}', "1:7", "a number", "a value"],
    ['{"a": [1 2]}', "1:10", "a number", "a comma or ] (for line 1)"],
    ['{"a": [1}', "1:9", "}", "a comma or ] (for line 1)"],
    ['{"a": 1}}', "1:9", "}", "the end of the file"],
    ['{"a": "x}', "1:7", "a text without its closing quote"],
    ['{"a": "\\x"}', "1:7", "a text with a backslash that escapes nothing"],
    ['{"a": "\\u12"}', "1:7", "a text with \\u that has no four hexadecimal digits"],
    ['{"a": "\u0001"}', "1:7", "a text with a control character"],
    ['{"a": "\\x\t"}', "1:7", "a text with a control character"],
    ['{"a": 1x}', "1:7", "a number", "a value"],
    ['{"a": [,]}', "1:8", ",", "a value or ] (for line 1)"],
    ['{"a": 1,,}', "1:9", ",", "a key in double quotes or } (for line 1)"],
    ['{"a": 1} /* …', "1:10", "a comment without its end"],
  ];
  for (const [text, place, found, expected] of table) {
    it(`${JSON.stringify(text)} is reported by line and column`, async () => {
      const failure = await failureFrom(text);
      assert.match(failure.message, new RegExp(`/config\\.json:${place} is not JSON$`));
      const where = expected === undefined ? "" : ` where ${expected} was expected`;
      assert.equal(failure.why, `found ${found}${where}`);
    });
  }

  for (const text of ["[]", '"text"', "3", "true"]) {
    it(`${text} is no object`, async () => {
      assert.match((await failureFrom(text)).message, /is not a JSON object$/);
    });
  }

  it("never shows a secret", async () => {
    const word = fc.stringMatching(/^[a-zA-Z0-9]{10,20}$/);
    await fc.assert(
      fc.asyncProperty(word, fc.constantFrom("", '"', "'", "\\"), async (secret, quote) => {
        const failure = await failureFrom(`{"model_list": [{"api_keys": [${quote}${secret}]`);
        assert.ok(!(allTextOf(failure) + String(failure.stack)).includes(secret));
        assert.equal(failure.cause, undefined);
      }),
      { numRuns: 40 },
    );
  });
});

describe(".security.yml", () => {
  const plain = [
    "12345",
    "0123e5",
    "007",
    "1_000",
    "true",
    "no",
    "1.50",
    "0x1F",
    "2026-01-02",
    "a b",
    "+1",
    ".5",
    "1e999",
    "-0",
  ];
  for (const text of plain) {
    it(`reads an unquoted ${text} as that text`, async () => {
      assert.equal(await passwordOf(text), text);
    });
  }

  const others: readonly [yaml: string, text: string | undefined][] = [
    ['"0123e5"', "0123e5"],
    ["'a''b: #c'", "a'b: #c"],
    ['"null"', "null"],
    ["|-\n        two\n        lines", "two\nlines"],
    ["secret # comment", "secret"],
    ["!!str 007", "007"],
    ["null", undefined],
    ["~", undefined],
    ["", undefined],
    ["'[NOT_HERE]'", undefined],
    ['"[NOT_HERE]"', undefined],
  ];
  for (const [yaml, text] of others) {
    it(`reads ${JSON.stringify(yaml)} as ${JSON.stringify(text)}`, async () => {
      assert.equal(await passwordOf(yaml), text);
    });
  }

  it("survives every text in quotes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ minLength: 1 }), async (password) => {
        assert.equal(await passwordOf(JSON.stringify(password)), password);
      }),
      { numRuns: 50 },
    );
  });

  it("may be empty, or hold comments alone", async () => {
    for (const security of ["", "# nothing yet\n", "---\n", "null"]) {
      assert.equal((await loadedFrom(mqttConfig(), { security })).config.channels.length, 1);
    }
  });

  it("may have anchors and merge keys", async () => {
    const security = `base: &base {username: u, password: 0123}
channels: {mqtt: {<<: *base, username: v}}
model_list: {m: {api_keys: [*key]}}
`.replace("model_list", "key: &key k1\nmodel_list");
    const models = { model_list: [{ model_name: "m", model: "openai/m" }] };
    const loaded = await loadedFrom(mqttConfig({}, models), { security });
    assert.equal(firstChannel(loaded).settings.username?.reveal(), "v");
    assert.equal(firstChannel(loaded).settings.password?.reveal(), "0123");
    assert.equal(loaded.config.model_list[0]?.api_keys[0]?.reveal(), "k1");
  });

  it("is read up to a second document", async () => {
    const security = "channels: {mqtt: {username: u}}\n---\nchannels: {mqtt: {username: v}}\n";
    const loaded = await loadedFrom(mqttConfig(), { security });
    assert.equal(firstChannel(loaded).settings.username?.reveal(), "u");
  });

  const faults: readonly [yaml: string, line: number, why: RegExp][] = [
    ["a: b: s3cret", 1, /second `: `/],
    ["a: 1\n\tb: s3cret", 2, /tab|multiple|key/],
    ["a: 1\nb: @s3cret", 2, /reserved character/],
    ["a: 1\nb: *s3cret", 2, /begins with \*/],
    ["a: 1\na: s3cret", 2, /twice/],
    ["a: [s3cret", 1, /bracket|closing/],
    ['a: "s3cret', 1, /quote/],
    ["- s3cret", 1, /a map/],
    ["s3cret", 1, /a map/],
    ["? [s3cret]\n: 1", 1, /single word/],
  ];
  for (const [security, line, why] of faults) {
    it(`${JSON.stringify(security)} is reported by its line, and not quoted`, async () => {
      const failure = await failureFrom(mqttConfig(), { security });
      assert.match(failure.message, new RegExp(`/\\.security\\.yml:${line} is not YAML$`));
      assert.match(failure.why ?? "", why);
      assert.doesNotMatch(allTextOf(failure) + String(failure.stack), /s3cret/);
    });
  }
});
