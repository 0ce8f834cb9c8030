import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { inspect } from "node:util";
import { modelErrorOf } from "../../../src/agent/model/errors.ts";
import { isOverflow } from "../../../src/agent/model/errors.ts";
import type { AgentDefaults } from "../../../src/config/contract.ts";
import { collect, modelEntry, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import {
  answers,
  hangs,
  refuses,
  resets,
  startModelServer,
  streams,
  textEvent,
} from "../../support/model-server.ts";
import type { Behaviour, ModelServer } from "../../support/model-server.ts";
import { openTestModels } from "../../support/model.ts";
import type { EntryChanges } from "../../support/model.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let first: ModelServer;
let second: ModelServer;
let third: ModelServer;
beforeEach(async () => {
  [first, second, third] = await Promise.all([
    startModelServer(),
    startModelServer(),
    startModelServer(),
  ]);
});
afterEach(() => Promise.all([first, second, third].map((server) => server.close())));

interface Setup {
  /** Of the entries `one`, `two` and `three`; one each for as many servers. */
  readonly entries?: readonly EntryChanges[];
  readonly defaults?: Partial<AgentDefaults>;
}

/** The entry `one` answers; it has the others as fallbacks unless something else is said. */
function setUp({ entries = [{}, {}], defaults = {} }: Setup = {}) {
  const names = ["one", "two", "three"];
  const servers = [first, second, third];
  const list = entries.map((changes, index) =>
    modelEntry({
      model_name: names[index] ?? "",
      api_base: servers[index]?.base ?? "",
      fallbacks: index === 0 ? names.slice(1, entries.length) : [],
      request_timeout: 0.3,
      ...changes,
    }),
  );
  const opened = openTestModels(list, defaults);
  const ask = async (): Promise<string> => (await collect(opened.models.main(questionOf()))).text;
  return { ask, ...opened };
}

/** How many questions each server has had. */
const counts = (): number[] => [first, second, third].map((server) => server.requests.length);

describe("a fault of one model", () => {
  const passing: [string, Behaviour][] = [
    ...[401, 402, 403, 404, 408, 410, 429, 500, 502, 503, 521, 524, 529].map(
      (status): [string, Behaviour] => [`HTTP ${status}`, refuses(status)],
    ),
    ["a model that is gone, in words", refuses(400, { error: { code: "model_decommissioned" } })],
    ["a lost connection", resets(": hello\n\n")],
    ["silence", hangs()],
    ["a stream that ends before its first word", streams({ finish: null, done: false })],
  ];
  for (const [name, behaviour] of passing) {
    it(`(${name}) makes the next one be asked, at once and only once each`, async () => {
      first.script(behaviour);
      second.script(answers("from two"));
      const { ask, log } = setUp();
      assert.equal(await ask(), "from two");
      assert.deepEqual(counts(), [1, 1, 0]);
      const warning = log.lines.find(({ level }) => level === "warn");
      const { model, instead } = warning?.fields ?? {};
      assert.deepEqual([model, instead], ['model_list "two"', 'model_list "one"']);
    });
  }

  for (const status of [307, 400, 422]) {
    it(`(HTTP ${status}) that every model would have is told at once`, async () => {
      first.script(refuses(status, { error: { message: "not so" } }));
      const { ask } = setUp();
      assert.equal(modelErrorOf(await modelFailureOf(ask()))?.status, status);
      assert.deepEqual(counts(), [1, 0, 0]);
    });
  }

  it("that the question is too long for is told at once, and known as such", async () => {
    first.script(refuses(400, { error: { message: "", code: "context_length_exceeded" } }));
    const { ask } = setUp();
    const failure = await modelFailureOf(ask());
    assert.equal(modelErrorOf(failure)?.kind, "overflow");
    assert.ok(isOverflow(failure));
    assert.deepEqual(counts(), [1, 0, 0]);
  });

  it("after its first word is the end, whoever else there is", async () => {
    first.script(resets(textEvent("ha")));
    const { models } = setUp();
    const heard: string[] = [];
    const asked = (async () => {
      for await (const piece of models.main(questionOf())) heard.push(piece);
    })();
    assert.match((await modelFailureOf(asked)).message, /broke off/);
    assert.deepEqual(heard, ["ha"]);
    assert.deepEqual(counts(), [1, 0, 0]);
  });

  it("is retried with the last one only", async () => {
    first.otherwise(refuses(503));
    second.script(refuses(503), refuses(503), answers("at last"));
    assert.equal(await setUp().ask(), "at last");
    assert.deepEqual(counts(), [1, 3, 0]);
  });
});

describe("the fallbacks", () => {
  it("are the entry's own, then everyone's, each once", async () => {
    for (const server of [first, second, third]) server.otherwise(refuses(402));
    const { ask } = setUp({
      entries: [{ fallbacks: ["two", "one", "nobody"] }, {}, { model: "groq/llama" }],
      defaults: { model_fallbacks: ["two", "groq/llama", "one"] },
    });
    await modelFailureOf(ask());
    assert.deepEqual(counts(), [1, 1, 1]);
  });

  it("that name nothing are told of once, at start", async () => {
    const { log } = setUp({
      entries: [
        { fallbacks: ["nobody", "two", "three"] },
        { enabled: false },
        { api_base: "", api_keys: [] },
      ],
      defaults: { model_fallbacks: ["nobody", "one"] },
    });
    const warnings = log.lines.filter(({ level }) => level === "warn");
    assert.deepEqual(
      warnings.map(({ fields }) => [fields["fallback"], fields["why"]]),
      [
        ["nobody", "it is not in model_list"],
        ["two", "it is not enabled in model_list"],
        ["three", 'model_list "three" has no key'],
      ],
    );
  });

  it("that all fail leave the first failure, with the number of the others", async () => {
    first.otherwise(refuses(401, { error: { message: "bad key sk-one-secret-0123" } }));
    second.otherwise(refuses(402));
    const { ask, log } = setUp({ entries: [{ api_keys: ["sk-one-secret-0123"] }, {}] });
    const failure = await modelFailureOf(ask());
    assert.match(failure.message, /refused this agent's key/);
    assert.match(
      failure.why ?? "",
      /^model_list "one": HTTP 401: bad key \[FILTERED\] \(asked http:\S+\) \(1 more was tried without success\)$/,
    );
    assert.equal(modelErrorOf(failure)?.status, 401);
    assert.ok(!inspect([failure, log.lines], { depth: 9 }).includes("secret"));
  });

  it("are left again when the first one answers after its cooldown", async () => {
    first.script(refuses(503));
    first.otherwise(answers("from one"));
    second.otherwise(answers("from two"));
    const { ask, clock } = setUp();
    assert.equal(await ask(), "from two");
    clock.move(MINUTE - 1);
    assert.equal(await ask(), "from two");
    clock.move(1);
    assert.equal(await ask(), "from one");
  });
});

describe("a turn", () => {
  it("stays with the model that answered, in all its rounds", async () => {
    first.script(refuses(503));
    first.otherwise(answers("from one"));
    second.otherwise(answers("from two"));
    const { models, clock } = setUp();
    const model = models.forTurn({ history: [], text: "?" });
    const rounds = async () => (await collect(model(questionOf()))).text;
    assert.equal(await rounds(), "from two");
    clock.move(2 * MINUTE);
    assert.equal(await rounds(), "from two");
    second.script(refuses(503));
    assert.equal(await rounds(), "from one");
  });
});

describe("a cooldown", () => {
  const rows: [string, number, number[]][] = [
    ["of a passing fault", 503, [MINUTE, 5 * MINUTE, 25 * MINUTE, HOUR, HOUR]],
    ["of asking too often", 429, [MINUTE, 5 * MINUTE, 25 * MINUTE, HOUR, HOUR]],
    ["of a model that is gone", 404, [MINUTE, 5 * MINUTE, 25 * MINUTE, HOUR, HOUR]],
    ["of a refused key", 401, [5 * HOUR, 10 * HOUR, 20 * HOUR, 24 * HOUR, 24 * HOUR]],
    ["of an empty account", 402, [5 * HOUR, 10 * HOUR, 20 * HOUR, 24 * HOUR, 24 * HOUR]],
  ];
  for (const [name, status, steps] of rows) {
    it(`${name} grows from failure to failure, and a success ends the row`, async () => {
      first.otherwise(refuses(status));
      second.otherwise(answers("from two"));
      const { ask, clock } = setUp();
      for (const [index, step] of steps.entries()) {
        await ask();
        assert.equal(first.requests.length, index + 1);
        clock.move(step - 1);
        await ask();
        assert.equal(first.requests.length, index + 1, "it cools down still");
        clock.move(1);
      }
      first.script(answers("from one"), refuses(status));
      assert.equal(await ask(), "from one");
      await ask();
      clock.move(steps[0] ?? 0);
      first.script(answers("from one"));
      assert.equal(await ask(), "from one");
    });
  }

  it("lasts as long as the provider asks for", async () => {
    first.script(refuses(429, {}, { "retry-after": "180" }), answers("from one"));
    second.otherwise(answers("from two"));
    const { ask, clock } = setUp();
    await ask();
    clock.move(3 * MINUTE - 1);
    assert.equal(await ask(), "from two");
    clock.move(1);
    assert.equal(await ask(), "from one");
  });

  it("counts turns that fail side by side once", async () => {
    first.otherwise(refuses(503));
    second.otherwise(answers("from two"));
    const { ask, clock } = setUp();
    await Promise.all([ask(), ask(), ask(), ask()]);
    clock.move(MINUTE);
    first.otherwise(answers("from one"));
    assert.equal(await ask(), "from one");
  });

  it("of all lets the one be asked that is nearest to its end", async () => {
    first.script(refuses(402));
    second.script(refuses(503), refuses(503), refuses(503), answers("from two"));
    const { ask } = setUp();
    await modelFailureOf(ask());
    assert.equal(await ask(), "from two");
    assert.deepEqual(counts(), [1, 4, 0]);
  });

  it("of all lets only that one be asked", async () => {
    for (const server of [first, second, third]) server.otherwise(refuses(402));
    const { ask } = setUp({ entries: [{}, {}, {}] });
    await modelFailureOf(ask());
    await modelFailureOf(ask());
    assert.deepEqual(counts(), [2, 1, 1]);
  });

  it("never keeps the only model from being asked", async () => {
    first.script(refuses(402), refuses(401), answers("from one"));
    const { ask } = setUp({ entries: [{}] });
    await modelFailureOf(ask());
    await modelFailureOf(ask());
    assert.equal(await ask(), "from one");
  });
});
