import assert from "node:assert/strict";
import { unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { inspect } from "node:util";
import * as fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import { runs } from "../support/runs.ts";
import { allTextOf, firstChannel, inHome, loadedFrom, mqttConfig } from "./home.ts";

/** Every way in which a person or a log gets to see a value. */
const shown = (value: object): string => {
  const texts = [inspect(value, { depth: 20, showHidden: true }), JSON.stringify(value)];
  if (value instanceof Failure) texts.push(allTextOf(value), String(value.stack), String(value));
  else if ("warnings" in value) texts.push(...JSON.stringify(value.warnings).split("\n"));
  return texts.join("\n");
};

const keyConfig = (key: unknown, more: object = {}) => ({
  version: 3,
  model_list: [{ model_name: "m", model: "openai/m", api_keys: [key], ...more }],
});

function assertUnseen(value: object, secrets: readonly string[]): void {
  for (const text of secrets) {
    for (const form of [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text)]) {
      assert.ok(!shown(value).includes(form), `${form} is seen`);
    }
  }
}

describe("no secret is seen", () => {
  const secret = fc
    .string({
      unit: fc.constantFrom(..."abcXYZ0189-_=+/:@#%?&'\"\\ {}[],*!|>$~`^".split("")),
      minLength: 8,
      maxLength: 24,
    })
    .filter((text) => text.trim() === text && !text.includes("[NOT_HERE]"))
    .map((text) => `s3${text}3s`);

  it("in what was loaded", async () => {
    await fc.assert(
      fc.asyncProperty(secret, secret, secret, secret, async (url, user, password, key) => {
        const broker = `mqtts://u:${encodeURIComponent(url)}@b`;
        const config = {
          ...mqttConfig({ broker, username: user, password, odd: 1 }),
          model_list: [{ model_name: "m", model: "m", api_key: key }],
        };
        const loaded = await loadedFrom(config);
        assert.equal(firstChannel(loaded).settings.password?.reveal(), password);
        assertUnseen(loaded, [url, user, password, key]);
        const other = await loadedFrom(mqttConfig({ broker }));
        assert.equal(firstChannel(other).settings.password?.reveal(), url);
        assertUnseen(other, [url]);
      }),
      { numRuns: 50 },
    );
  });

  it("in a failure, whatever it is about", async () => {
    const breakage = fc.constantFrom<(texts: [string, string]) => [object | string, string]>(
      ([one, other]) => [
        mqttConfig({ broker: `mqtts://u:${one}@b:x`, password: other, qos: 9 }),
        "",
      ],
      ([one, other]) => [mqttConfig({ broker: `tcp://u:${one}`, username: [other] }), ""],
      ([one, other]) => [mqttConfig({ broker: `u:${one}@:70000`, password: { x: other } }), ""],
      ([one, other]) => [{ model_list: [{ api_keys: [one, { x: other }] }] }, ""],
      ([one, other]) => [
        {
          model_list: [{ proxy: `u:${one}@b` }],
          tools: {
            web: { searxng: { base_url: `u:${other}@b` }, tavily: { base_url: `x ${one}` } },
          },
        },
        "",
      ],
      ([one, other]) => [
        keyConfig(`file://${one}`),
        `model_list: {x: {api_keys: [${JSON.stringify(other)}]}}`,
      ],
      ([one, other]) => [
        keyConfig(`enc://${one}`),
        `channels: {mqtt: {password: ${JSON.stringify(other)}, enabled: 3}}`,
      ],
      ([one, other]) => [
        mqttConfig({ qos: 9 }),
        `channels: {mqtt: {username: ${one}, password: ${other}}}`,
      ],
      ([one, other]) => [mqttConfig(), `a: ${one}\n b: *${other}`],
      ([one, other]) => [`{"model_list": [{"api_keys": ["${one}" "${other}`, ""],
    );
    await fc.assert(
      fc.asyncProperty(secret, secret, breakage, async (one, other, broken) => {
        const [config, security] = broken([one, other]);
        await inHome({ "config.json": config, ".security.yml": security }, async (home) => {
          const options = { env: { PICOCLAW_KEY_PASSPHRASE: `${one}${other}` } };
          assertUnseen(await home.load(options), [one, other]);
        });
      }),
      { numRuns: runs(200) },
    );
  });

  it("in a failure about a password of the command line", async () => {
    await inHome({ "config.json": mqttConfig() }, async (home) => {
      await writeFile(join(home.user, "pw"), "s3cret");
      const failure = await home.failed({ flags: { "password-file": "pw", agent: "a+b" } });
      await unlink(join(home.user, "pw"));
      assertUnseen(failure, ["s3cret"]);
    });
  });
});
