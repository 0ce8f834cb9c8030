import assert from "node:assert/strict";
import { it } from "node:test";
import * as fc from "fast-check";
import { createCallCollector } from "../../../src/agent/model/protocols/openai.ts";
import { createThoughtFilter } from "../../../src/agent/model/protocols/openai.ts";
import { collect, modelFailureOf } from "../../support/agent-config.ts";
import { codePoint } from "../../support/code-point.ts";
import { streamEvents } from "../../support/model-server.ts";
import { openModel } from "../../support/model.ts";
import { runs } from "../../support/runs.ts";

const question = {
  system: "",
  messages: [],
  tools: [],
  signal: new AbortController().signal,
} as const;

/** A body that arrives in exactly these pieces. */
function bodyOf(bytes: Uint8Array, cuts: readonly number[]): ReadableStream<Uint8Array> {
  const ends = [...new Set(cuts.map((cut) => cut % bytes.length))].toSorted((a, b) => a - b);
  const starts = [0, ...ends];
  return new ReadableStream({
    start(controller) {
      starts.forEach((start, index) => controller.enqueue(bytes.slice(start, starts[index + 1])));
      controller.close();
    },
  });
}

it("any text in any deltas and any cuts of bytes comes out as it went in", async () => {
  const words = fc.array(fc.string({ unit: codePoint }), { maxLength: 8 });
  const cuts = fc.array(fc.nat(), { maxLength: 40 });
  const newline = fc.constantFrom("\n" as const, "\r\n" as const);
  await fc.assert(
    fc.asyncProperty(words, cuts, newline, fc.boolean(), async (text, at, end, comments) => {
      const whole = text.join("");
      fc.pre(!/^\s*<think/.test(whole));
      const sent = streamEvents({ text, newline: end, comments }).join("");
      const body = bodyOf(new TextEncoder().encode(sent), at);
      const fetch = async () => new Response(body);
      const model = openModel({ entry: { api_base: "http://model.test/v1" }, fetch });
      const { text: got, pieces, result } = await collect(model(question));
      assert.equal(got, whole);
      assert.equal(result.text, whole);
      assert.ok(pieces.every((piece) => piece !== ""));
    }),
    { numRuns: runs(200) },
  );
});

it("a body without end is bounded, whatever it holds", async () => {
  const piece = new TextEncoder().encode(`: ${"x".repeat(1024 * 1024)}\n`);
  const endless = () => new ReadableStream<Uint8Array>({ pull: (body) => body.enqueue(piece) });
  for (const [status, sentence] of [
    [200, /longer/],
    [400, /refused/],
  ] as const) {
    const fetch = async () => new Response(endless(), { status });
    const model = openModel({ entry: { api_base: "http://model.test/v1" }, fetch });
    assert.match((await modelFailureOf(collect(model(question)))).message, sentence);
  }
});

it("thinking is taken off in the same way however the answer is cut", () => {
  const parts = fc.array(
    fc.constantFrom("<", "think", ">", "</", "ing", " ", "\n", "a", "<think>", "</think>"),
  );
  fc.assert(
    fc.property(parts, fc.array(fc.nat(), { maxLength: 20 }), (written, cuts) => {
      const text = written.join("");
      const whole = createThoughtFilter();
      const inOne = whole.take(text) + whole.end();
      const filter = createThoughtFilter();
      const ends = cuts.map((cut) => cut % (text.length + 1)).toSorted((a, b) => a - b);
      let inPieces = "";
      [0, ...ends].forEach((start, index) => {
        inPieces += filter.take(text.slice(start, ends[index] ?? text.length));
      });
      assert.equal(inPieces + filter.end(), inOne);
    }),
    { numRuns: runs(500) },
  );
});

it("interleaved tool calls are put together in any order of their pieces", () => {
  const call = fc.record({
    name: fc.stringMatching(/^[a-z]{1,8}$/),
    words: fc.string({ maxLength: 30 }),
  });
  fc.assert(
    fc.property(
      fc.array(call, { minLength: 1, maxLength: 5 }),
      fc.infiniteStream(fc.nat()),
      (list, choices) => {
        const collector = createCallCollector();
        list.forEach(({ name }, index) =>
          collector.take({
            tool_calls: [{ index, id: `id${index}`, function: { name, arguments: "" } }],
          }),
        );
        const left = list.map(({ words }, index) => ({ index, letters: words.split("") }));
        for (
          let open = left;
          open.length > 0;
          open = open.filter(({ letters }) => letters.length > 0)
        ) {
          const next = open[(choices.next().value ?? 0) % open.length];
          const letter = next?.letters.shift() ?? "";
          collector.take({ tool_calls: [{ index: next?.index, function: { arguments: letter } }] });
        }
        assert.deepEqual(
          collector.end(),
          list.map(({ name, words }, index) => ({ id: `id${index}`, name, arguments: words })),
        );
      },
    ),
  );
});

it("tool calls without an index, or all with the same, are told apart by their ids", () => {
  for (const index of [undefined, 0]) {
    const collector = createCallCollector();
    for (const id of ["a", "b"]) {
      collector.take({
        tool_calls: [{ index, id, function: { name: "device", arguments: '{"n"' } }],
      });
      collector.take({ tool_calls: [{ index, function: { arguments: `:"${id}"}` } }] });
    }
    assert.deepEqual(collector.end(), [
      { id: "a", name: "device", arguments: '{"n":"a"}' },
      { id: "b", name: "device", arguments: '{"n":"b"}' },
    ]);
  }
});

it("tool calls without ids, or with equal ones, get ids of their own", () => {
  const collector = createCallCollector();
  const named = { function: { name: "device", arguments: "{}" } };
  collector.take({
    tool_calls: [
      { index: 0, ...named },
      { index: 1, id: "x", ...named },
    ],
  });
  collector.take({ tool_calls: [{ index: 2, id: "x", ...named }] });
  assert.equal(new Set(collector.end().map(({ id }) => id)).size, 3);
});
