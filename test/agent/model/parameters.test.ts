import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import { collect, questionOf } from "../../support/agent-config.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import { answers, refuses, startModelServer } from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import type { EntryChanges } from "../../support/model.ts";
import { openModel } from "../../support/model.ts";

describe("a server that refuses a parameter of the stream", () => {
  let server: ModelServer;
  beforeEach(async () => {
    server = await startModelServer();
    server.otherwise(answers("yes"));
  });
  afterEach(() => server.close());

  function setUp(entry: EntryChanges = {}) {
    const log = createMemoryLog();
    const model = openModel({
      entry: { api_base: server.base, ...entry },
      defaults: { max_llm_retries: 0 },
      log,
    });
    return { log, ask: () => collect(model(questionOf())) };
  }

  /** Which of the two fields each request had. */
  const asked = (): string[] =>
    server.requests.map(({ body }) =>
      ["stream", "stream_options"].filter((key) => key in body).join(" "),
    );

  const both = "stream stream_options";

  for (const [status, body] of [
    [400, { error: { message: "Unrecognized request argument supplied: stream_options" } }],
    [400, { error: { message: "Unsupported parameter", param: "stream_options" } }],
    [400, { error: { message: "no", param: "stream_options.include_usage" } }],
    [422, { detail: [{ loc: ["body", "stream_options"], msg: "Extra inputs are not permitted" }] }],
  ] as const) {
    it(`is asked without stream_options from then on: ${JSON.stringify(body)}`, async () => {
      server.script(refuses(status, body));
      const { ask, log } = setUp();
      assert.equal((await ask()).text, "yes");
      assert.equal((await ask()).text, "yes");
      assert.deepEqual(asked(), [both, "stream", "stream"]);
      assert.equal(log.lines.filter((line) => /refused a parameter/.test(line.message)).length, 1);
    });
  }

  for (const body of [
    { error: { message: "Streaming is not supported for this model." } },
    { error: { message: "unsupported value", param: "stream" } },
    { error: { message: 'unknown field "stream"' } },
    { detail: [{ loc: ["body", "stream"], msg: "Extra inputs are not permitted" }] },
  ]) {
    it(`is asked for the answer in one piece from then on: ${JSON.stringify(body)}`, async () => {
      server.script(refuses(400, body));
      const { ask } = setUp();
      assert.equal((await ask()).text, "yes");
      assert.equal((await ask()).text, "yes");
      assert.deepEqual(asked(), [both, "", ""]);
    });
  }

  it("one after the other is asked without both", async () => {
    server.script(
      refuses(400, { error: { message: "unknown parameter: stream_options" } }),
      refuses(400, { error: { message: "streaming is disabled" } }),
    );
    const { ask } = setUp();
    assert.equal((await ask()).text, "yes");
    assert.deepEqual(asked(), [both, "stream", ""]);
  });

  it("again and again is a failure, and not asked for ever", async () => {
    server.otherwise(
      refuses(400, { error: { message: "stream and stream_options: not allowed" } }),
    );
    const { ask } = setUp();
    await assert.rejects(ask(), (thrown: unknown) => thrown instanceof Failure);
    assert.deepEqual(asked(), [both, "stream", ""]);
  });

  it("is learnt from each of several questions under way", async () => {
    const about = { error: { message: "bad", param: "stream_options" } };
    server.script(refuses(400, about), refuses(400, about), refuses(400, about));
    const { ask } = setUp();
    const replies = await Promise.all([ask(), ask(), ask()]);
    assert.deepEqual(
      replies.map(({ text }) => text),
      ["yes", "yes", "yes"],
    );
    assert.equal(server.requests.length, 6);
  });

  it("that extra_body insists on is a failure", async () => {
    server.otherwise(refuses(400, { error: { message: "bad", param: "stream_options" } }));
    const { ask } = setUp({ extra_body: { stream_options: { include_usage: false } } });
    await assert.rejects(ask(), /refused the question/);
    assert.equal(server.requests.length, 1);
  });

  it("and other refusals, are not the same", async () => {
    for (const [status, message] of [
      [400, "the upstream is not there"],
      [400, "temperature is not supported"],
      [401, 'unknown field "stream"'],
      [500, "streaming is not supported"],
    ] as const) {
      const { ask } = setUp({ api_keys: ["k1k1"] });
      const before = server.requests.length;
      server.script(refuses(status, { error: { message } }));
      await assert.rejects(ask());
      assert.equal(server.requests.length, before + 1, message);
      assert.equal(asked().at(-1), both);
    }
  });
});
