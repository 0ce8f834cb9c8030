import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import type { ModelCall, PromptMessage } from "../../../src/agent/model/contract.ts";
import { endpointOf } from "../../../src/agent/model/endpoint.ts";
import { createConverseAnswer } from "../../../src/agent/model/protocols/bedrock.ts";
import { Failure } from "../../../src/base/failure.ts";
import { at, listAt } from "../../../src/base/unknown.ts";
import { collect, modelEntry, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { BEDROCK, eventMessage } from "../../support/bedrock-server.ts";
import { refuses, sends, startModelServer } from "../../support/model-server.ts";
import type { Behaviour, ModelServer } from "../../support/model-server.ts";
import { openModel, sentBy } from "../../support/model.ts";

const VARIABLES = ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_BEARER_TOKEN_BEDROCK"].concat([
  "AWS_ACCESS_KEY_ID",
  "AWS_SECRET_ACCESS_KEY",
  "AWS_SESSION_TOKEN",
]);
const saved = VARIABLES.map((name) => [name, process.env[name]] as const);

function setVariables(values: Readonly<Record<string, string>> = {}): void {
  for (const name of VARIABLES) delete process.env[name];
  Object.assign(process.env, values);
}

afterEach(() => {
  setVariables();
  for (const [name, value] of saved) if (value !== undefined) process.env[name] = value;
});

const SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

const found = (api_base: string, variables: Record<string, string> = {}, keys = ["k"]) => {
  setVariables(variables);
  const entry = modelEntry({ model: "bedrock/x", api_base, api_keys: keys });
  return endpointOf(entry);
};

const remedyOf = (find: () => unknown): string => {
  try {
    find();
  } catch (thrown) {
    return thrown instanceof Failure ? (thrown.remedy ?? "") : "";
  }
  return assert.fail("it was found");
};

describe("the endpoint of Bedrock", () => {
  const KEYS = { AWS_ACCESS_KEY_ID: "AKID", AWS_SECRET_ACCESS_KEY: "sec/ret" };
  it("is in the region of api_base, or of the environment, or at a URL", () => {
    const frankfurt = "https://bedrock-runtime.eu-central-1.amazonaws.com";
    assert.equal(found("eu-central-1").base, frankfurt);
    assert.equal(found("", { AWS_REGION: "eu-central-1" }).base, frankfurt);
    assert.equal(found("", { AWS_DEFAULT_REGION: "eu-central-1" }).base, frankfurt);
    assert.equal(found("http://vpc/").base, "http://vpc");
    const beijing = "https://bedrock-runtime.cn-north-1.amazonaws.com.cn";
    assert.equal(found("cn-north-1").base, beijing);
  });

  it("takes its keys from the entry, or from the environment", () => {
    const variables = { AWS_BEARER_TOKEN_BEDROCK: "bearer", ...KEYS };
    assert.deepEqual(found("us-east-1", variables).keys, ["k"]);
    assert.deepEqual(found("us-east-1", variables, []).keys, ["bearer"]);
    assert.deepEqual(found("us-east-1", KEYS, []).keys, ["AKID:sec/ret"]);
    const session = { ...KEYS, AWS_SESSION_TOKEN: "tok" };
    assert.deepEqual(found("us-east-1", session, []).keys, ["AKID:sec/ret:tok"]);
  });

  it("without a region or a key is a failure that says what to set", () => {
    assert.match(
      remedyOf(() => found("")),
      /api_base.*AWS_REGION/,
    );
    assert.match(
      remedyOf(() => found("us-east-1", {}, [])),
      /AWS_BEARER_TOKEN_BEDROCK/,
    );
  });
});

const TOOL = { name: "device", description: "facts", parameters: { type: "object" } };
const ROUND: readonly PromptMessage[] = [
  { role: "user", text: "hot?" },
  { role: "assistant", text: "", toolCalls: [{ id: "c", name: "device", arguments: '{"a":1}' }] },
  { role: "tool", callId: "c", name: "device", text: "hot", failed: true },
];

async function bodyOf(entry: Parameters<typeof modelEntry>[0], call: Partial<ModelCall> = {}) {
  const { body, url } = await sentBy(
    { entry: { api_base: "us-east-1", ...entry }, defaults: { max_tokens: 0 } },
    call,
  );
  const json: unknown = JSON.parse(body);
  const contents = listAt(json, "messages").map((message) => at(message, "content"));
  return { url, json, contents };
}

describe("a request to Bedrock", () => {
  it("goes to the model's own path, also if it is an ARN", async () => {
    const arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/a";
    const { url } = await bodyOf({ provider: "bedrock", model: arn });
    const base = "https://bedrock-runtime.us-east-1.amazonaws.com";
    assert.equal(url, `${base}/model/${encodeURIComponent(arn)}/converse-stream`);
  });

  it("has calls, results and tools as Converse has them", async () => {
    const question = { tools: [TOOL], messages: ROUND };
    const { json, contents } = await bodyOf({ model: "bedrock/amazon.nova-lite-v1:0" }, question);
    assert.deepEqual(at(json, "system"), [{ text: "be short" }]);
    const inputSchema = { json: { type: "object" } };
    const toolSpec = { name: "device", description: "facts", inputSchema };
    assert.deepEqual(at(json, "toolConfig"), { tools: [{ toolSpec }] });
    const result = { toolUseId: "c", content: [{ text: "hot" }], status: "error" };
    assert.deepEqual(contents, [
      [{ text: "hot?" }],
      [{ toolUse: { toolUseId: "c", name: "device", input: { a: 1 } } }],
      [{ toolResult: result }],
    ]);
    for (const field of ["model", "inferenceConfig", "additionalModelRequestFields"]) {
      assert.equal(at(json, field), undefined);
    }
  });

  it("without tools tells earlier calls and results as texts, because Bedrock refuses them then", async () => {
    const { contents } = await bodyOf({ model: "bedrock/x" }, { messages: ROUND });
    const called = [{ text: '[called device with {"a":1}]' }];
    assert.deepEqual(contents, [[{ text: "hot?" }], called, [{ text: "[result: hot]" }]]);
  });

  it("without tools tells the text of a result with images", async () => {
    const images = [{ mediaType: "image/png", data: "AAAA" }] as const;
    const result = { role: "tool", callId: "c", name: "device", text: "hot", images } as const;
    const messages = [...ROUND.slice(0, 2), result];
    const { contents } = await bodyOf({ model: "bedrock/x" }, { messages });
    assert.deepEqual(contents.at(-1), [{ text: "[result: hot]" }]);
  });

  it("has points of the cache for Claude 4 and later only", async () => {
    const point = { cachePoint: { type: "default" } };
    const claude = await bodyOf({ model: "bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0" });
    assert.deepEqual(at(claude.json, "system"), [{ text: "be short" }, point]);
    assert.deepEqual(claude.contents, [[{ text: "hello" }, point]]);
    const older = await bodyOf({ model: "bedrock/anthropic.claude-3-sonnet-20240229-v1:0" });
    assert.doesNotMatch(JSON.stringify(older.json), /cachePoint/);
  });

  it("asks Claude to think with a limit, and no other model", async () => {
    const entry = { thinking_level: "low" as const };
    const model = "bedrock/anthropic.claude-sonnet-4-20250514-v1:0";
    const { json } = await bodyOf({ ...entry, model });
    const thinking = { type: "enabled", budget_tokens: 2048 };
    assert.deepEqual(at(json, "additionalModelRequestFields"), { thinking });
    assert.deepEqual(at(json, "inferenceConfig"), { maxTokens: 64_000 });
    const other = await bodyOf({ ...entry, model: "bedrock/openai.gpt-oss-20b-1:0" });
    assert.equal(at(other.json, "additionalModelRequestFields"), undefined);
  });

  it("has what extra_body says, also within inferenceConfig", async () => {
    const extra_body = { inferenceConfig: { topP: 0.5 }, guardrailConfig: { trace: "enabled" } };
    const { json } = await bodyOf({ model: "bedrock/x", extra_body });
    assert.deepEqual(at(json, "inferenceConfig"), { topP: 0.5 });
    assert.deepEqual(at(json, "guardrailConfig"), { trace: "enabled" });
  });
});

const heard = (...events: readonly unknown[]) => {
  const answer = createConverseAnswer("me");
  for (const event of events) answer.take(event);
  return answer.reply();
};
const delta = (contentBlockIndex: number, piece: unknown) => ({
  contentBlockDelta: { contentBlockIndex, delta: piece },
});

describe("an answer of Bedrock", () => {
  it("keeps redacted reasoning for the next round", () => {
    const { reasoning = "" } = heard(
      delta(0, { reasoningContent: { redactedContent: "b3BhcXVl" } }),
      {
        contentBlockStart: {
          contentBlockIndex: 1,
          start: { toolUse: { toolUseId: "t", name: "device" } },
        },
      },
      delta(1, { toolUse: { input: "{}" } }),
      { messageStop: { stopReason: "tool_use" } },
    );
    assert.match(reasoning, /"redacted_thinking","data":"b3BhcXVl"/);
  });

  for (const [reason, kind] of [
    ["guardrail_intervened", "withheld"],
    ["content_filtered", "withheld"],
    ["malformed_tool_use", "broken_off"],
  ]) {
    it(`that stops with ${reason} is ${kind}`, () => {
      assert.throws(() => heard({ messageStop: { stopReason: reason } }), { kind });
    });
  }
});

const streams = (...events: readonly string[]): Behaviour =>
  sends(Buffer.from(events.join(""), "latin1"), { type: BEDROCK.binary ?? "" });
const answers = (text: string) => streams(...BEDROCK.events({ text }));

describe("a call of Bedrock", () => {
  let server: ModelServer;
  before(async () => {
    server = await startModelServer();
  });
  after(() => server.close());

  const KEY = `AKIDEXAMPLE:${SECRET}`;
  const modelOf = () =>
    openModel({
      entry: { model: "bedrock/x", api_base: server.base, api_keys: [KEY] },
      defaults: { max_llm_retries: 0 },
    });
  const authorizations = (from: number) =>
    server.requests.slice(from).map(({ headers }) => headers.authorization ?? "");

  it("with an access key is signed, and the secret stays here", async () => {
    const from = server.requests.length;
    server.script(answers("hello"));
    assert.equal((await collect(modelOf()(questionOf()))).text, "hello");
    const [authorization = ""] = authorizations(from);
    assert.match(
      authorization,
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/us-east-1\/bedrock\/aws4_request, SignedHeaders=host;x-amz-date, Signature=[\da-f]{64}$/,
    );
    server.script(refuses(400, { message: `bad ${SECRET}` }));
    const { why = "" } = await modelFailureOf(collect(modelOf()(questionOf())));
    assert.doesNotMatch(why, /wJalr/);
  });

  it("is signed again by the server's clock if this one is wrong, and stays so", async () => {
    const from = server.requests.length;
    const date = new Date(Date.now() + 3_600_000);
    const message = "Signature expired: 20261130T010203Z is now earlier than 20261130T015703Z";
    const model = modelOf();
    const skewed = refuses(403, { message }, { date: date.toUTCString() });
    server.script(skewed, answers("one"), answers("two"));
    for (const text of ["one", "two"]) {
      assert.equal((await collect(model(questionOf()))).text, text);
    }
    const dates = server.requests.slice(from).map(({ headers }) => headers["x-amz-date"]);
    const hours = dates.map((time) => String(time).slice(0, 11));
    const expected = date.toISOString().replaceAll(/[-:]/g, "").slice(0, 11);
    assert.notEqual(hours[0], expected);
    assert.deepEqual(hours.slice(1), [expected, expected]);
  });

  it("with a refused key says so once", async () => {
    const from = server.requests.length;
    server.script(
      refuses(403, { message: "The security token included in the request is invalid." }),
    );
    const { message, why = "" } = await modelFailureOf(collect(modelOf()(questionOf())));
    assert.match(message, /refused this agent's key/);
    assert.match(why, /HTTP 403: The security token/);
    assert.equal(server.requests.length, from + 1);
  });

  it("that is throttled in the stream says that the model is overloaded", async () => {
    const throttled = eventMessage("throttlingException", { message: "slow down" }, "exception");
    server.script(streams(throttled));
    const { message, why = "" } = await modelFailureOf(collect(modelOf()(questionOf())));
    assert.match(message, /overloaded/);
    assert.match(why, /throttlingException: slow down/);
  });

  it("of a model without tools is made again without them", async () => {
    const message = "This model doesn't support tool use.";
    server.script(refuses(400, { message }), answers("without"));
    const call = { ...questionOf(), tools: [TOOL] };
    assert.equal((await collect(modelOf()(call))).text, "without");
    assert.equal(server.requests.at(-1)?.body["toolConfig"], undefined);
  });

  it("of a model that takes no temperature is made again without it", async () => {
    const message =
      "The model returned the following errors: `temperature` is deprecated for this model.";
    server.script(refuses(400, { message }), answers("cool"));
    const entry = { model: "bedrock/x", api_base: server.base, api_keys: [KEY] };
    const model = openModel({ entry, defaults: { max_llm_retries: 0, temperature: 0.5 } });
    assert.equal((await collect(model(questionOf()))).text, "cool");
    assert.deepEqual(server.requests.at(-1)?.body["inferenceConfig"], { maxTokens: 1000 });
  });

  it("of an unknown model says so", async () => {
    server.script(refuses(400, { message: "The provided model identifier is invalid." }));
    const { message } = await modelFailureOf(collect(modelOf()(questionOf())));
    assert.match(message, /does not know this model/);
  });
});
