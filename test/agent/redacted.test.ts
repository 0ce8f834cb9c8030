import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { redactedAnswerer, redactedCompact } from "../../src/agent/agent.ts";
import type { Answerer, Message, Turn } from "../../src/agent/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { collect } from "../support/agent-config.ts";

const SECRET = "sk-secret-0123";
const redactor = createRedactor([SECRET]);

function turnOf(turn: Partial<Turn> = {}): Turn {
  return {
    history: async () => [],
    text: "?",
    client: "c",
    signal: new AbortController().signal,
    ...turn,
  };
}

describe("an answer behind the redactor", () => {
  it("is streamed as it is remembered, whatever the pieces are", async () => {
    const text = `the key: ${SECRET}, sk-sec`;
    const said: Message[] = [
      { role: "user", text: `is it ${SECRET}?` },
      {
        role: "assistant",
        text,
        toolCalls: [
          { id: "1", name: "t", arguments: `{"k":"${SECRET}"}` },
          { id: SECRET, name: `no ${SECRET}`, arguments: "" },
        ],
      },
      { role: "tool", callId: "1", name: "t", text: SECRET },
      { role: "tool", callId: SECRET, name: `no ${SECRET}`, text: "" },
    ];
    const answer = redactedAnswerer(async function* (turn) {
      for (const message of said) await turn.record?.(message);
      for (const letter of text.split("")) yield letter;
      return { messages: said, usage: { inputTokens: 1, outputTokens: 2 } };
    }, redactor);
    const recorded: Message[] = [];
    const record = async (message: Message): Promise<void> => void recorded.push(message);
    const { pieces, result } = await collect(answer(turnOf({ record })));
    const expected: Message[] = [
      { role: "user", text: `is it ${SECRET}?` },
      {
        role: "assistant",
        text: "the key: [FILTERED], sk-sec",
        toolCalls: [
          { id: "1", name: "t", arguments: '{"k":"[FILTERED]"}' },
          { id: "[FILTERED]", name: "no [FILTERED]", arguments: "" },
        ],
      },
      { role: "tool", callId: "1", name: "t", text: "[FILTERED]" },
      { role: "tool", callId: "[FILTERED]", name: "no [FILTERED]", text: "" },
    ];
    assert.equal(pieces.join(""), "the key: [FILTERED], sk-sec");
    assert.ok(!pieces.includes(""), "no piece is empty");
    assert.deepEqual(result, { messages: expected, usage: { inputTokens: 1, outputTokens: 2 } });
    assert.deepEqual(recorded, expected);
  });

  it("that fails says so without secrets, after all that it had said", async () => {
    const answer = redactedAnswerer(async function* () {
      yield "so far sk-";
      throw new Failure("model", `no ${SECRET}`, { why: SECRET, retryAfter: 3 });
    }, redactor);
    const turn = answer(turnOf());
    assert.deepEqual(await turn.next(), { value: "so far ", done: false });
    assert.deepEqual(await turn.next(), { value: "sk-", done: false });
    await assert.rejects(turn.next(), (thrown) => {
      assert.ok(thrown instanceof Failure);
      const { code, message, why, retryAfter } = thrown;
      assert.deepEqual(
        [code, message, why, retryAfter],
        ["model", "no [FILTERED]", "[FILTERED]", 3],
      );
      return true;
    });
  });

  it("says nothing more once it is aborted", async () => {
    const stop = new AbortController();
    const answer = redactedAnswerer(async function* (turn) {
      yield "so far sk-";
      stop.abort(new Failure("cancelled", "stopped"));
      turn.signal.throwIfAborted();
      return { messages: [] };
    }, redactor);
    const turn = answer(turnOf({ signal: stop.signal }));
    assert.equal((await turn.next()).value, "so far ");
    await assert.rejects(turn.next(), { code: "cancelled" });
  });

  it("ends what it comes from when its reader leaves, or throws into it", async () => {
    let ended = 0;
    const endless: Answerer = async function* () {
      try {
        for (;;) yield "word ";
      } finally {
        ended += 1;
      }
    };
    const answer = redactedAnswerer(endless, redactor);
    for await (const _piece of answer(turnOf())) break;
    const turn = answer(turnOf());
    await turn.next();
    const reason = new Error("enough");
    await assert.rejects(turn.throw(reason), (thrown) => thrown === reason);
    assert.equal(ended, 2);
  });
});

it("a summary behind the redactor holds no secret", async () => {
  const compact = redactedCompact(
    async () => ({ through: 3, summary: { role: "summary", text: `it was ${SECRET}` } }),
    redactor,
  );
  const compacted = await compact({ turns: [] }, new AbortController().signal);
  assert.deepEqual(compacted, {
    through: 3,
    summary: { role: "summary", text: "it was [FILTERED]" },
  });
  const nothing = redactedCompact(async () => undefined, redactor);
  assert.equal(await nothing({ turns: [] }, new AbortController().signal), undefined);
});
