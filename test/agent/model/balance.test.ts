import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import type { AgentDefaults, ModelEntry } from "../../../src/config/contract.ts";
import { collect, modelEntry, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { answers, refuses, startModelServer } from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import { openTestModels } from "../../support/model.ts";

const HOUR = 3_600_000;

let servers: ModelServer[];
beforeEach(async () => {
  servers = await Promise.all([startModelServer(), startModelServer(), startModelServer()]);
  for (const [index, server] of servers.entries()) server.otherwise(answers(`from ${index}`));
});
afterEach(() => Promise.all(servers.map((server) => server.close())));

const base = (index: number): string => servers[index]?.base ?? "";
const counts = (): number[] => servers.map((server) => server.requests.length);

function setUp(entries: readonly ModelEntry[], defaults: Partial<AgentDefaults> = {}) {
  const opened = openTestModels(entries, { max_llm_retries: 0, ...defaults });
  const { models } = opened;
  const ask = async (): Promise<string> =>
    (await collect(models.forTurn({ history: [], text: "?" })(questionOf()))).text;
  return { ask, ...opened };
}

const twins = (): ModelEntry[] => [
  modelEntry({ model_name: "gpt", api_base: base(0) }),
  modelEntry({ model_name: "gpt", api_base: base(1) }),
  modelEntry({ model_name: "gpt", api_base: base(2), fallbacks: ["spare"] }),
];

const keysSent = (index: number): (string | undefined)[] =>
  servers[index]?.requests.map(({ headers }) => headers.authorization?.slice(7)) ?? [];

const severalNames = (): ModelEntry[] => [
  modelEntry({ model_name: "one", api_base: base(0), fallbacks: ["two"] }),
  modelEntry({ model_name: "off", enabled: false }),
  modelEntry({ model_name: "two", model: "groq/llama", api_base: base(1) }),
  modelEntry({ model_name: "two", model: "groq/other", api_base: base(2) }),
  modelEntry({ model_name: "keyless", api_keys: [] }),
];

describe("entries of one name", () => {
  it("take turns", async () => {
    const { ask } = setUp(twins());
    for (let turn = 0; turn < 9; turn += 1) assert.equal(await ask(), `from ${turn % 3}`);
    assert.deepEqual(counts(), [3, 3, 3]);
  });

  it("share turns that come at once", async () => {
    const { ask } = setUp(twins());
    await Promise.all(Array.from({ length: 9 }, ask));
    assert.deepEqual(counts(), [3, 3, 3]);
  });

  it("keep to one for all rounds of a turn", async () => {
    const { models } = setUp(twins());
    const model = models.forTurn({ history: [], text: "?" });
    for (let round = 0; round < 3; round += 1) await collect(model(questionOf()));
    assert.deepEqual(counts(), [3, 0, 0]);
  });

  it("stand in for one that fails, and share its turns", async () => {
    servers[0]?.otherwise(refuses(503));
    const { ask } = setUp(twins());
    for (let turn = 0; turn < 8; turn += 1) await ask();
    assert.deepEqual(counts(), [1, 4, 4]);
  });

  it("leave out those that are off or cannot work, and tell of these", async () => {
    const { ask, log } = setUp([
      modelEntry({ model_name: "gpt", api_base: base(0), enabled: false }),
      modelEntry({ model_name: "gpt", api_keys: [] }),
      modelEntry({ model_name: "gpt", api_base: base(1) }),
      modelEntry({ model_name: "gpt", api_base: base(2) }),
    ]);
    for (let turn = 0; turn < 4; turn += 1) await ask();
    assert.deepEqual(counts(), [0, 2, 2]);
    const warnings = log.lines.filter(({ level }) => level === "warn");
    assert.deepEqual(
      warnings.map(({ fields }) => fields["why"]),
      ['model_list "gpt" has no key'],
    );
  });

  it("take turns as fallbacks too, and are told apart", async () => {
    servers[0]?.otherwise(refuses(402));
    const { ask } = setUp(
      [
        modelEntry({ model_name: "main", api_base: base(0) }),
        modelEntry({ model_name: "spare", api_base: base(1) }),
        modelEntry({ model_name: "spare", api_base: base(2) }),
      ],
      { model_fallbacks: ["spare"] },
    );
    for (let turn = 0; turn < 6; turn += 1) await ask();
    assert.deepEqual(counts(), [1, 3, 3]);
    for (const server of servers) server.otherwise(refuses(400));
    assert.match((await modelFailureOf(ask())).why ?? "", /^model_list "spare:0": HTTP 400/);
  });
});

describe("a key that failed", () => {
  const api_keys = ["key-one", "key-two"];

  it("rests alone: the other keys of its entry answer", async () => {
    servers[0]?.script(refuses(402));
    const { ask, clock } = setUp([
      modelEntry({ model_name: "main", api_base: base(0), api_keys, fallbacks: ["spare"] }),
      modelEntry({ model_name: "spare", api_base: base(1) }),
    ]);
    for (let turn = 0; turn < 3; turn += 1) assert.equal(await ask(), "from 0");
    assert.deepEqual(keysSent(0), ["key-one", "key-two", "key-two", "key-two"]);
    clock.move(5 * HOUR);
    for (let turn = 0; turn < 2; turn += 1) await ask();
    assert.deepEqual(new Set(keysSent(0).slice(-2)), new Set(api_keys));
    assert.deepEqual(counts(), [6, 0, 0]);
  });

  it("is not asked again where another model can be", async () => {
    servers[0]?.script(refuses(402), answers("yes"), refuses(429));
    const { ask } = setUp([
      modelEntry({ model_name: "main", api_base: base(0), api_keys, fallbacks: ["spare"] }),
      modelEntry({ model_name: "spare", api_base: base(1) }),
    ]);
    assert.equal(await ask(), "yes");
    assert.equal(await ask(), "from 1");
    assert.deepEqual(keysSent(0), ["key-one", "key-two", "key-two"]);
  });

  it("is asked last where all have failed, the one that rests longest", async () => {
    servers[0]?.script(refuses(401), refuses(402), refuses(429));
    const keys = [...api_keys, "key-three"];
    const { ask } = setUp([modelEntry({ api_base: base(0), api_keys: keys })]);
    await modelFailureOf(ask());
    assert.equal(await ask(), "from 0");
    assert.deepEqual(keysSent(0), [...keys, "key-three"]);
  });

  it("is left alone for another model, once all have failed", async () => {
    servers[0]?.script(refuses(401), refuses(429));
    const { ask, clock } = setUp([
      modelEntry({ model_name: "main", api_base: base(0), api_keys, fallbacks: ["spare"] }),
      modelEntry({ model_name: "spare", api_base: base(1) }),
    ]);
    for (let turn = 0; turn < 3; turn += 1) assert.equal(await ask(), "from 1");
    assert.deepEqual(keysSent(0), api_keys);
    clock.move(60_000);
    assert.equal(await ask(), "from 0");
    assert.deepEqual(keysSent(0), [...api_keys, "key-two"]);
  });
});

describe("the switch to another model", () => {
  const one = { name: "one", provider: "openai", model: "gpt-test" };
  const two = { name: "two", provider: "groq", model: "llama" };

  it("holds for everyone from the next turn on", async () => {
    const { ask, models } = setUp(severalNames());
    const running = models.forTurn({ history: [], text: "?" });
    assert.deepEqual(models.switchTo("two"), { from: one, to: two });
    assert.deepEqual(models.current(), two);
    assert.equal(await ask(), "from 1");
    assert.equal((await collect(models.main(questionOf()))).text, "from 2");
    assert.equal((await collect(running(questionOf()))).text, "from 0");
  });

  it("takes the id of a model too", () => {
    const { models } = setUp(severalNames());
    assert.deepEqual(models.switchTo("groq/llama").to, two);
    assert.deepEqual(models.switchTo("openai/gpt-test").to, one);
  });

  it("can go to all that are listed", () => {
    const { models } = setUp(severalNames());
    assert.deepEqual(models.list(), [one, two]);
    for (const { name } of models.list()) assert.equal(models.switchTo(name).to.name, name);
  });

  it("has the model tried again that cools down", async () => {
    servers[0]?.script(refuses(402));
    const { ask, models } = setUp(severalNames());
    assert.equal(await ask(), "from 1");
    models.switchTo("one");
    assert.equal(await ask(), "from 0");
  });

  for (const [name, why, remedy] of [
    ["onee", "it is not in model_list", "did you mean one?"],
    ["off", "it is not enabled in model_list", /one/],
    ["keyless", 'model_list "keyless" has no key', "known are one, two"],
  ] as const) {
    it(`to ${name} is refused, with the reason`, async () => {
      const { ask, models } = setUp(severalNames());
      assert.throws(
        () => models.switchTo(name),
        (thrown) => {
          assert.ok(thrown instanceof Failure && thrown.code === "usage");
          assert.equal(thrown.why, why);
          if (typeof remedy === "string") assert.equal(thrown.remedy, remedy);
          else assert.match(thrown.remedy ?? "", remedy);
          return true;
        },
      );
      assert.equal(await ask(), "from 0");
    });
  }
});
