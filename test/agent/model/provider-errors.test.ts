import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { isOverflow } from "../../../src/agent/model/errors.ts";
import { collect, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import {
  answers,
  event,
  refuses,
  resets,
  sends,
  startModelServer,
  streams,
  textEvent,
} from "../../support/model-server.ts";
import type { Behaviour, ModelServer } from "../../support/model-server.ts";
import { openModel } from "../../support/model.ts";

let server: ModelServer;
before(async () => {
  server = await startModelServer();
});
after(() => server.close());

type Entry = NonNullable<Parameters<typeof openModel>[0]>["entry"];

function ask(behaviours: readonly Behaviour[], retries = 0, entry: Entry = {}) {
  server.script(...behaviours);
  const model = openModel({
    entry: { api_base: server.base, ...entry },
    defaults: { max_llm_retries: retries },
  });
  return collect(model(questionOf()));
}

const failureOf = (behaviour: Behaviour, entry: Entry = {}) =>
  modelFailureOf(ask([behaviour], 0, entry));

const WHOLE_MESSAGE = sends(
  '{"type":"message","content":[{"type":"text","text":"yes"}],"stop_reason":"end_turn"}',
  { type: "application/json" },
);

/** Answers of providers, word for word, with what is said about them. */
const RECORDED: Record<
  string,
  [number, string, { message: RegExp; why?: RegExp; remedy?: RegExp }]
> = {
  "OpenRouter, with the provider's JSON as a text": [
    400,
    '{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\\n  \\"error\\": {\\n    \\"message\\": \\"Response input messages must contain the word \'json\' in some form to use \'text.format\' of type \'json_object\'.\\",\\n    \\"type\\": \\"invalid_request_error\\",\\n    \\"param\\": \\"input\\",\\n    \\"code\\": null\\n  }\\n}","provider_name":"OpenAI"}},"user_id":"org_2x"}',
    {
      message: /refused the question/,
      why: /HTTP 400: Provider returned error: OpenAI: Response input messages must contain/,
    },
  ],
  "OpenRouter, with the provider's text": [
    429,
    '{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"z-ai/glm-5.3-flash is temporarily rate-limited upstream. Please retry shortly.","provider_name":"BaseTen"}}}',
    {
      message: /overloaded/,
      why: /Provider returned error: BaseTen: z-ai\/glm-5\.3-flash is temporarily rate-limited/,
    },
  ],
  "OpenAI, with an empty account": [
    429,
    '{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}',
    { message: /requires payment/, remedy: /check the account/ },
  ],
  "OpenAI, with too many requests": [
    429,
    '{"error":{"message":"Rate limit reached for gpt-4o in organization org-x on requests per min (RPM)","type":"requests","param":null,"code":"rate_limit_exceeded"}}',
    { message: /overloaded/, remedy: /ask less often/ },
  ],
  "Anthropic, with an empty account": [
    400,
    '{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}',
    { message: /requires payment/ },
  ],
  "LiteLLM, with a wrong model": [
    400,
    '{"error":{"message":"/chat/completions: Invalid model name passed in model=DeepSeek-R1x. Call `/v1/models` to view available models for your key.","type":"None","param":"None","code":"400"}}',
    { message: /does not know this model/ },
  ],
  "OpenAI, with a wrong model": [
    404,
    '{"error":{"message":"The model `gpt-9` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}',
    { message: /does not know this model/ },
  ],
  "Ollama, with a wrong model": [
    404,
    '{"error":{"message":"model \\"x\\" not found, try pulling it first","type":"api_error","param":null,"code":null}}',
    { message: /does not know this model/ },
  ],
  "OpenAI, with a wrong path": [
    404,
    '{"error":{"message":"Invalid URL (POST /chat/completions)","type":"invalid_request_error","param":null,"code":null}}',
    { message: /no API at this address/, remedy: /check api_base/ },
  ],
  "llama.cpp, with a wrong path": [
    404,
    '{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}',
    { message: /no API at this address/ },
  ],
  "Ollama, with a wrong path": [404, "404 page not found", { message: /no API at this address/ }],
  "FastAPI, with a wrong path": [404, '{"detail":"Not Found"}', { message: /no API at this/ }],
  "nginx, with a wrong path": [
    404,
    "<html><head><title>404 Not Found</title></head></html>",
    { message: /no API at this address/ },
  ],
};

describe("an error of a provider", () => {
  for (const [name, [status, body, expected]] of Object.entries(RECORDED)) {
    it(`names its cause: ${name}`, async () => {
      const { message, why, remedy } = await failureOf(refuses(status, body));
      assert.match(message, expected.message);
      if (expected.why) assert.match(why ?? "", expected.why);
      if (expected.remedy) assert.match(remedy ?? "", expected.remedy);
    });
  }

  it("is too long a conversation by the name of LiteLLM's exception alone", async () => {
    const message = "litellm.ContextWindowExceededError: litellm.BadRequestError";
    assert.ok(isOverflow(await failureOf(refuses(400, { error: { message, code: "400" } }))));
  });

  it("names the URL that was asked, without its query", async () => {
    const entry = { api_base: `${server.base}?api-key=hidden-one` };
    const { why = "" } = await failureOf(refuses(400, {}), entry);
    assert.ok(why.includes(`(asked ${server.base}/chat/completions)`), why);
    assert.ok(!why.includes("hidden-one"));
  });
});

const paths = (from: number) => server.requests.slice(from).map(({ path }) => path);
const origin = () => new URL(server.base).origin;

describe("the /v1 of api_base", () => {
  const wrong = refuses(404, '{"detail":"Not Found"}');

  for (const [base, model, tried] of [
    ["", "openai/x", ["/chat/completions", "/v1/chat/completions"]],
    ["/proxy/v1", "openai/x", ["/proxy/v1/chat/completions", "/proxy/chat/completions"]],
    ["/v1", "anthropic-messages/x", ["/v1/messages", "/messages"]],
  ] as const) {
    it(`is forgiven once, and then known: ${base} of ${model}`, async () => {
      const first = server.requests.length;
      const answer = model === "openai/x" ? answers("yes") : WHOLE_MESSAGE;
      server.script(wrong, answer, answer);
      const entry = { api_base: `${origin()}${base}`, model };
      const theirs = openModel({ entry, defaults: { max_llm_retries: 0 } });
      for (const _ of [1, 2]) assert.equal((await collect(theirs(questionOf()))).text, "yes");
      assert.deepEqual(paths(first), [...tried, tried[1]]);
    });
  }

  it("is forgiven by LM Studio's answer, whose status is 200", async () => {
    const first = server.requests.length;
    // lmstudio-ai/lmstudio-bug-tracker#618
    const body = '{"error":"Unexpected endpoint or method. (POST /chat/completions)"}';
    const length = { "content-length": String(body.length) };
    const { text } = await ask([refuses(200, body, length), answers("yes")], 0, {
      api_base: origin(),
    });
    assert.equal(text, "yes");
    assert.deepEqual(paths(first), ["/chat/completions", "/v1/chat/completions"]);
  });

  it("is not the fault where both are wrong: the configured one is named, and asked alone then", async () => {
    const first = server.requests.length;
    server.script(wrong, wrong, wrong);
    const model = openModel({ entry: { api_base: server.base } });
    for (const _ of [1, 2]) {
      const { message, why = "" } = await modelFailureOf(collect(model(questionOf())));
      assert.match(message, /no API at this address/);
      assert.ok(why.includes(`asked ${server.base}/chat/completions`), why);
    }
    assert.equal(paths(first).length, 3);
  });

  it("is never tried for a model that is unknown, or with another version", async () => {
    const unknown = refuses(404, '{"error":{"message":"The model `x` does not exist"}}');
    const first = server.requests.length;
    await failureOf(unknown);
    await failureOf(wrong, { api_base: `${origin()}/api/paas/v4` });
    assert.equal(paths(first).length, 2);
  });
});

/** github.com/groq/groq-typescript/issues/28, and an event of anomalyco/opencode/issues/1018. */
const STUMBLED =
  '{"error":{"message":"Failed to call a function. Please adjust your prompt. See \'failed_generation\' for more details.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"<function=device>{\\"facts\\"","status_code":400}}';

describe("a call that Groq's model wrote wrong", () => {
  it("is tried again, as an answer and as an event", async () => {
    for (const first of [refuses(400, STUMBLED), sends(`event: error\ndata: ${STUMBLED}\n\n`)]) {
      assert.equal((await ask([first, answers("at last")], 2)).text, "at last");
    }
  });
});

describe("an answer of another API", () => {
  const list = '{"object":"list","data":[{"id":"llama3","object":"model"}]}';
  const chat = streams({ text: "hello" });
  const message = sends(
    'event: message_start\ndata: {"type":"message_start","message":{"content":[]}}\n\n' +
      'event: message_stop\ndata: {"type":"message_stop"}\n\n',
  );
  const cases: Record<string, [Behaviour, string]> = {
    "a list of models": [sends(list, { type: "application/json" }), "openai/x"],
    "a chat completion for messages": [chat, "anthropic-messages/x"],
    "a chat completion for Gemini": [chat, "gemini/x"],
    "a message for chat completions": [message, "openai/x"],
  };
  for (const [name, [behaviour, model]] of Object.entries(cases)) {
    it(`is invalid, and asked for once: ${name}`, async () => {
      const asked = server.requests.length;
      const { message: sentence, remedy } = await modelFailureOf(ask([behaviour], 2, { model }));
      assert.match(sentence, /invalid answer/);
      assert.match(remedy ?? "", /check api_base/);
      assert.equal(server.requests.length, asked + 1);
    });
  }

  it("is told apart from an answer that is damaged in the middle", async () => {
    const role = event({ choices: [{ delta: { role: "assistant" } }] });
    const answer = await ask([sends(`${role}data: {"choi]\n\n`), answers("at last")], 2);
    assert.equal(answer.text, "at last");
  });
});

describe("the usage of Groq", () => {
  it("may stand in x_groq alone", async () => {
    const last = event({
      choices: [{ delta: {}, finish_reason: "stop" }],
      x_groq: { id: "req_1", usage: { prompt_tokens: 20, completion_tokens: 3 } },
    });
    const { result } = await ask([sends(textEvent("hi") + last + event("[DONE]"))]);
    assert.deepEqual(result.usage, { inputTokens: 20, outputTokens: 3 });
  });
});

describe("a lost connection", () => {
  it("is told in plain words, before the answer and within it", async () => {
    for (const behaviour of [resets(), resets(textEvent("ha"))]) {
      // Without connections that were used before: on those a runtime may ask again by itself.
      await using fresh = await startModelServer();
      fresh.otherwise(behaviour);
      const model = openModel({
        entry: { api_base: fresh.base },
        defaults: { max_llm_retries: 0 },
      });
      const { why } = await modelFailureOf(collect(model(questionOf())));
      assert.match(why ?? "", /: the server closed the connection \(asked/);
    }
  });

  it("is told apart from one that was refused", async () => {
    const closed = await startModelServer();
    await closed.close();
    const model = openModel({
      entry: { api_base: closed.base },
      defaults: { max_llm_retries: 0 },
    });
    const { why } = await modelFailureOf(collect(model(questionOf())));
    assert.match(why ?? "", /: the server refused the connection \(asked/);
  });
});
