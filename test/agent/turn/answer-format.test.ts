import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Turn } from "../../../src/agent/contract.ts";
import type { AnswerFormat } from "../../../src/base/contract.ts";
import { collect, modelEntry, modelFailureOf } from "../../support/agent-config.ts";
import { ANTHROPIC } from "../../support/anthropic-server.ts";
import { BEDROCK } from "../../support/bedrock-server.ts";
import { AZURE, CHAT } from "../../support/chat-dialect.ts";
import { sendsAll } from "../../support/dialects.ts";
import type { ScriptedAnswer, TestDialect } from "../../support/dialects.ts";
import { GEMINI } from "../../support/gemini-server.ts";
import { openTestAgent } from "../../support/model-agent.ts";
import { refuses, sends, startModelServer, textEvent } from "../../support/model-server.ts";
import type { Behaviour, ModelServer } from "../../support/model-server.ts";
import { RESPONSES } from "../../support/responses-server.ts";

const SCHEMA = {
  type: "object",
  properties: { celsius: { type: "number", minimum: -50 } },
  required: ["celsius"],
};
const CLOSED = { ...SCHEMA, additionalProperties: false };
const UNBOUNDED = { ...CLOSED, properties: { celsius: { type: "number" } } };
const FORMAT: AnswerFormat = { type: "json_schema", schema: SCHEMA };
const GOOD = '{"celsius": 61}';

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

function says(dialect: TestDialect, answer: ScriptedAnswer): Behaviour {
  return sendsAll(dialect, dialect.events(answer));
}

function open(dialect: TestDialect) {
  const { agent } = openTestAgent([modelEntry({ ...dialect.entry, api_base: server.base })]);
  return (changes: Partial<Turn> = {}) =>
    collect(agent.answer({ ...turnOf(), format: FORMAT, ...changes }));
}

function turnOf(): Turn {
  return {
    history: () => Promise.resolve([]),
    text: "How warm?",
    client: "board",
    signal: new AbortController().signal,
  };
}

/** The bodies that the server got. */
const bodies = () => server.requests.map(({ body }) => body);

/** The field by which each protocol asks for a format. */
const NATIVE: readonly (readonly [
  TestDialect,
  (body: Record<string, unknown>) => unknown,
  unknown,
])[] = [
  [
    AZURE,
    (body) => body["response_format"],
    { type: "json_schema", json_schema: { name: "answer", schema: CLOSED, strict: true } },
  ],
  [
    RESPONSES,
    (body) => Object(body["text"]).format,
    { type: "json_schema", name: "answer", schema: CLOSED, strict: true },
  ],
  [
    ANTHROPIC,
    (body) => Object(body["output_config"]).format,
    { type: "json_schema", schema: UNBOUNDED },
  ],
  [
    GEMINI,
    (body) => {
      const { responseMimeType, responseSchema } = Object(body["generationConfig"]);
      return responseMimeType && [responseMimeType, responseSchema];
    },
    ["application/json", SCHEMA],
  ],
  [
    BEDROCK,
    (body) => {
      const { textFormat } = Object(body["outputConfig"]);
      return textFormat && JSON.parse(textFormat.structure.jsonSchema.schema);
    },
    UNBOUNDED,
  ],
];

const REFUSALS: Readonly<Record<string, readonly string[]>> = {
  [AZURE.name]: [
    "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
    "Invalid schema for response_format 'answer': In context=(), 'required' is required to be supplied and to be an array including every key in properties.",
    "json mode cannot be combined with tool/function calling",
    "This response_format type is unavailable now",
  ],
  [RESPONSES.name]: [
    "Invalid parameter: 'text.format' of type 'json_schema' is not supported with this model.",
  ],
  [ANTHROPIC.name]: [
    "output_config.format: Extra inputs are not permitted",
    "'claude-3-haiku-20240307' does not support output format.",
  ],
  [GEMINI.name]: [
    "* GenerateContentRequest.generation_config.response_schema.properties[celsius].properties: should be non-empty for OBJECT type",
    "Function calling with a response mime type: 'application/json' is unsupported",
    "For controlled generation of only function calls (forced function calling), please set 'tool_config.function_calling_config.mode' field to ANY instead of populating 'response_mime_type', 'response_schema' and 'response_json_schema' fields.",
  ],
  [BEDROCK.name]: [
    "This model doesn't support the outputConfig.textFormat field. Remove outputConfig.textFormat and try again.",
  ],
};

for (const [dialect, nativeOf, native] of NATIVE) {
  describe(`an answer with a format: ${dialect.name}`, () => {
    it("is asked for by the protocol's own means and in words before the question", async () => {
      server.otherwise(says(dialect, { text: ["{", '"celsius": 61', "}"] }));
      const { pieces, result } = await open(dialect)();
      assert.deepEqual(pieces, [GOOD]);
      assert.deepEqual(nativeOf(bodies()[0] ?? {}), native);
      const [request] = server.requests;
      assert.ok(request);
      assert.ok(JSON.stringify(dialect.heard(request)).includes('\\"celsius\\"'));
      assert.ok(!dialect.systemOf(request).includes("celsius"));
      assert.deepEqual(
        result.messages.map(({ role, text }) => [role, text]),
        [
          ["user", "How warm?"],
          ["assistant", GOOD],
        ],
      );
      // What is stored does not repeat the schema.
      assert.ok(!JSON.stringify(result.messages[0]).includes("celsius"));
    });

    it("comes after tools, and only the answer is seen", async () => {
      const call = { id: "call_1", name: "device", arguments: "{}" };
      server.script(says(dialect, { text: "I look.", toolCalls: [call] }));
      server.otherwise(says(dialect, { text: GOOD }));
      const { pieces, result } = await open(dialect)();
      assert.deepEqual(pieces, [GOOD]);
      assert.deepEqual(
        result.messages.map(({ role }) => role),
        ["user", "assistant", "tool", "assistant"],
      );
    });

    it("that does not fit is asked for once more, and not stored", async () => {
      server.script(says(dialect, { text: '{"celsius": "warm"}' }));
      server.otherwise(says(dialect, { text: GOOD }));
      const { pieces, result } = await open(dialect)();
      assert.deepEqual(pieces, [GOOD]);
      assert.equal(result.messages.length, 2);
      const { inputTokens, outputTokens, cachedTokens = 0 } = dialect.usage;
      assert.deepEqual(
        [result.usage?.inputTokens, result.usage?.outputTokens, result.usage?.cachedTokens ?? 0],
        [2 * inputTokens, 2 * outputTokens, 2 * cachedTokens],
      );
      const last = JSON.stringify(bodies()[1]);
      assert.match(last, /\/celsius is of the type string, not number/);
    });

    it("that does not fit twice is an error", async () => {
      server.otherwise(says(dialect, { text: "It is warm." }));
      const failure = await modelFailureOf(open(dialect)());
      assert.match(failure.message, /format/);
      assert.match(failure.why ?? "", /not JSON/);
      assert.equal(server.requests.length, 2);
    });

    for (const words of REFUSALS[dialect.name] ?? []) {
      it(`is asked for in words alone after "${words.slice(0, 60)}"`, async () => {
        server.script(refuses(400, dialect.error(400, words)));
        server.otherwise(says(dialect, { text: GOOD }));
        const ask = open(dialect);
        for (const _ of [1, 2]) assert.deepEqual((await ask()).pieces, [GOOD]);
        const asked = bodies().map((body) => nativeOf(body) !== undefined);
        assert.deepEqual(asked, [true, false, false]);
        // The refusal of one schema says nothing about another one.
        await ask({ format: { ...FORMAT, schema: { type: "object" } } }).catch(() => {});
        const isOfSchema = /^Invalid schema|non-empty/.test(words);
        assert.equal(nativeOf(bodies()[3] ?? {}) !== undefined, isOfSchema);
      });
    }
  });
}

it("what a model learns of its effort with a format is not sent without one", async () => {
  const refusal = {
    error: {
      type: "invalid_request_error",
      message: "output_config.effort: 'high' is not supported, use 'low'",
    },
  };
  server.script(refuses(400, refusal));
  server.otherwise(says(ANTHROPIC, { text: GOOD }));
  const entry = {
    ...ANTHROPIC.entry,
    model: "anthropic-messages/claude-opus-4-7",
    api_base: server.base,
  };
  const { agent } = openTestAgent([modelEntry({ ...entry, thinking_level: "high" })]);
  const ask = (format: Partial<Turn>) => collect(agent.answer({ ...turnOf(), ...format }));
  await ask({ format: FORMAT });
  await ask({});
  const configs = bodies().map((body) => body["output_config"]);
  const format = { type: "json_schema", schema: UNBOUNDED };
  assert.deepEqual(configs, [
    { effort: "high", format },
    { effort: "low", format },
    { effort: "low" },
  ]);
});

describe("an answer with a format from a server of one's own", () => {
  it("has tools first, and only then the format that would keep the model from calling them", async () => {
    server.script(says(CHAT, { text: "It is 61 °C." }));
    server.otherwise(says(CHAT, { text: GOOD }));
    assert.deepEqual((await open(CHAT)()).pieces, [GOOD]);
    const asked = bodies().map((body) => [
      body.tools !== undefined,
      body["response_format"] !== undefined,
    ]);
    assert.deepEqual(asked, [
      [true, false],
      [false, true],
    ]);
  });

  it("that breaks off is asked for once more, since nothing of it has left", async () => {
    const half = sends(textEvent('{"cel'));
    server.script(half);
    server.otherwise(says(CHAT, { text: GOOD }));
    assert.deepEqual((await open(CHAT)()).pieces, [GOOD]);
    server.otherwise(half);
    const failure = await modelFailureOf(open(CHAT)());
    assert.match(failure.message, /broke off/);
    assert.equal(server.requests.length, 4);
  });

  for (const fenced of [
    `\`\`\`json\n${GOOD}\n\`\`\``,
    `\n\`\`\`\n${GOOD}\n\`\`\`\n`,
    ` ${GOOD}\n`,
  ]) {
    it(`is the JSON alone of ${JSON.stringify(fenced)}`, async () => {
      server.otherwise(says(CHAT, { text: [fenced] }));
      const { text, result } = await open(CHAT)();
      assert.equal(text, GOOD);
      assert.equal(result.messages.at(-1)?.text, GOOD);
    });
  }

  it("is no answer of the offline agent when the model cannot be reached", async () => {
    server.otherwise(refuses(401));
    await modelFailureOf(open(CHAT)({ text: "How hot is the CPU?" }));
  });
});
