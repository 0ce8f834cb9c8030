import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { inspect } from "node:util";
import { collect, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import {
  answers,
  hangs,
  refuses,
  resets,
  startModelServer,
  streams,
  textEvent,
} from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import type { OneModel } from "../../support/model.ts";
import { openModel } from "../../support/model.ts";

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

function createModel({ entry, defaults }: Partial<OneModel> = {}) {
  const log = createMemoryLog();
  const model = openModel({ entry: { api_base: server.base, ...entry }, defaults, log });
  return { log, model };
}

const keysSent = (): (string | undefined)[] =>
  server.requests.map(({ headers }) => headers.authorization?.replace("Bearer ", ""));

describe("a fault that passes", () => {
  for (const status of [408, 429, 500, 502, 503, 529]) {
    it(`HTTP ${status} is tried again`, async () => {
      server.script(refuses(status), refuses(status), answers("at last"));
      const { model, log } = createModel();
      assert.equal((await collect(model(questionOf()))).text, "at last");
      assert.equal(server.requests.length, 3);
      assert.equal(log.lines.filter(({ level }) => level === "warn").length, 2);
    });
  }

  it("a connection that is cut before the answer is tried again", async () => {
    server.script(resets(), resets(": hello\n\n"), answers("at last"));
    assert.equal((await collect(createModel().model(questionOf()))).text, "at last");
  });

  it("a stream that ends before its first word is tried again", async () => {
    server.script(streams({ finish: null, usage: null, done: false }), answers("at last"));
    assert.equal((await collect(createModel().model(questionOf()))).text, "at last");
  });

  it("silence is tried again after its deadline", async () => {
    server.script(hangs(), hangs(""), answers("at last"));
    const { model } = createModel({ entry: { request_timeout: 0.1 } });
    assert.equal((await collect(model(questionOf()))).text, "at last");
  });

  it("is given up after max_llm_retries", async () => {
    server.otherwise(refuses(503));
    const { model } = createModel({ defaults: { max_llm_retries: 3 } });
    assert.match((await modelFailureOf(collect(model(questionOf())))).message, /overloaded/);
    assert.equal(server.requests.length, 4);
  });

  it("is never tried again once text was heard", async () => {
    for (const end of [resets(textEvent("ha")), hangs(textEvent("ha"))]) {
      server.script(end, answers("again"));
      const { model } = createModel({ entry: { request_timeout: 0.2 } });
      const heard: string[] = [];
      const before = server.requests.length;
      const asked = (async () => {
        for await (const piece of model(questionOf())) heard.push(piece);
      })();
      await modelFailureOf(asked);
      assert.deepEqual(heard, ["ha"]);
      assert.equal(server.requests.length, before + 1);
      await collect(createModel().model(questionOf()));
    }
  });

  it("a server that is not there is unreachable", async () => {
    await server.close();
    const { message, why } = await modelFailureOf(collect(createModel().model(questionOf())));
    assert.equal(message, "the model could not be reached");
    assert.match(why ?? "", /model_list "test"/);
  });
});

describe("the provider's own wait", () => {
  it("is honoured", async () => {
    server.script(refuses(429, {}, { "retry-after": "0.3" }), answers("at last"));
    const startedAt = performance.now();
    await collect(createModel().model(questionOf()));
    assert.ok(performance.now() - startedAt >= 290);
  });

  it("may be told in milliseconds, or as a date", async () => {
    const soon = new Date(Date.now() + 1000).toUTCString();
    server.script(
      refuses(429, {}, { "retry-after-ms": "50", "retry-after": "500" }),
      refuses(503, {}, { "retry-after": soon }),
      answers("at last"),
    );
    assert.equal((await collect(createModel().model(questionOf()))).text, "at last");
  });

  it("is handed on to the asker where it is too long to wait", async () => {
    server.script(refuses(429, {}, { "retry-after": "3600" }), answers("never"));
    const { retryAfter } = await modelFailureOf(collect(createModel().model(questionOf())));
    assert.equal(retryAfter, 3600);
    assert.equal(server.requests.length, 1);
  });
});

describe("a fault that stays", () => {
  const sentences: Record<number, RegExp> = {
    307: /invalid answer/,
    400: /refused the question/,
    401: /refused this agent's key/,
    402: /payment/,
    403: /refused this agent's key/,
    404: /does not know this model/,
    422: /refused the question/,
  };
  for (const [status, sentence] of Object.entries(sentences)) {
    it(`HTTP ${status} is said at once`, async () => {
      server.script(refuses(Number(status), {}, { location: `${server.base}/elsewhere` }));
      const failure = await modelFailureOf(collect(createModel().model(questionOf())));
      assert.match(failure.message, sentence);
      assert.equal(server.requests.length, 1);
    });
  }

  it("tells the operator the provider's words, cleaned and short, and nobody else", async () => {
    const key = "sk-live-AAAABBBBCCCCDDDD";
    const words = `Incorrect key ${key} \u001b[31m at Bearer abc.d-e ${"x".repeat(5000)}`;
    server.script(refuses(401, { error: { message: words } }));
    const { model, log } = createModel({ entry: { api_keys: [key] } });
    const failure = await modelFailureOf(collect(model(questionOf())));
    assert.match(
      failure.why ?? "",
      /HTTP 401: Incorrect key \[FILTERED\] \\x1b\[31m at Bearer \*\*\* xxx/,
    );
    assert.ok((failure.why ?? "").length < 400);
    assert.doesNotMatch(failure.message, /Incorrect|http/);
    assert.ok(!inspect([failure, log.lines], { depth: 9 }).includes(key));
  });

  for (const [name, body] of Object.entries({
    "an HTML page": "<html><body>502 nginx sk-x</body></html>",
    "no details": "",
    "an error as a text": '{"error":"an error as a text"}',
    "a list of faults": '{"detail":[{"msg":"a list of faults"}]}',
  })) {
    it(`with ${name} as its body is told of`, async () => {
      server.script(refuses(400, body));
      const { why } = await modelFailureOf(collect(createModel().model(questionOf())));
      assert.match(why ?? "", new RegExp(name));
    });
  }

  it("with a body without end is read in part only", async () => {
    server.script(refuses(400, "x".repeat(10_000_000)));
    assert.ok(
      ((await modelFailureOf(collect(createModel().model(questionOf())))).why ?? "").length < 400,
    );
  });
});

describe("several keys", () => {
  const api_keys = ["key-one", "key-two", "key-three"];

  it("take turns", async () => {
    server.otherwise(answers("yes"));
    const { model } = createModel({ entry: { api_keys } });
    for (let times = 0; times < 4; times += 1) await collect(model(questionOf()));
    assert.deepEqual(keysSent(), ["key-one", "key-two", "key-three", "key-one"]);
  });

  for (const status of [401, 402, 403, 429]) {
    it(`help each other out at once when one gets a ${status}`, async () => {
      server.script(refuses(status, {}, { "retry-after": "30" }), answers("yes"));
      const { model } = createModel({ entry: { api_keys } });
      assert.equal((await collect(model(questionOf()))).text, "yes");
      assert.deepEqual(keysSent(), ["key-one", "key-two"]);
    });
  }

  it("that were refused come last from then on", async () => {
    server.script(refuses(401));
    server.otherwise(answers("yes"));
    const { model } = createModel({ entry: { api_keys } });
    for (let times = 0; times < 4; times += 1) await collect(model(questionOf()));
    assert.deepEqual(keysSent(), ["key-one", "key-two", "key-two", "key-three", "key-two"]);
  });

  it("fail together, and one that only waits is tried again", async () => {
    server.script(refuses(429), refuses(401), refuses(401), answers("yes"));
    const { model } = createModel({ entry: { api_keys } });
    assert.equal((await collect(model(questionOf()))).text, "yes");
    server.otherwise(refuses(403));
    const failure = await modelFailureOf(collect(model(questionOf())));
    assert.match(failure.message, /key/);
    assert.equal(server.requests.length, 4 + 3);
  });

  it("do not hide a fault that is no key's", async () => {
    server.script(refuses(400));
    await modelFailureOf(collect(createModel({ entry: { api_keys } }).model(questionOf())));
    assert.equal(server.requests.length, 1);
  });
});
