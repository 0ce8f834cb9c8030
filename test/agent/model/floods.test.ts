import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { describe, it } from "node:test";
import type { Fetch } from "../../../src/agent/model/contract.ts";
import { argumentsOf } from "../../../src/agent/model/http/answer.ts";
import { createBlockCollector } from "../../../src/agent/model/protocols/message-blocks.ts";
import { createCallCollector } from "../../../src/agent/model/protocols/openai.ts";
import { createThoughtFilter } from "../../../src/agent/model/protocols/openai.ts";
import { runTool } from "../../../src/agent/tools/run.ts";
import { callContext, collect, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { event, textEvent } from "../../support/model-server.ts";
import type { EntryChanges } from "../../support/model.ts";
import { openModel } from "../../support/model.ts";

function modelWith(fetch: Fetch, entry: EntryChanges = {}) {
  return openModel({
    entry: { api_base: "http://model.test/v1", ...entry },
    defaults: { max_llm_retries: 0 },
    fetch,
  });
}

/** A body that is there as fast as it is read, and does not end. */
function endless(piece: string): Response {
  const bytes = new TextEncoder().encode(piece.repeat(Math.ceil(4096 / piece.length)));
  const pull = (body: ReadableStreamDefaultController<Uint8Array>) => body.enqueue(bytes);
  return new Response(new ReadableStream<Uint8Array>({ pull }));
}

describe("a model that sends without a pause", () => {
  for (const [what, piece] of [
    ["words", textEvent("a ")],
    ["blanks", textEvent(" ")],
    ["thoughts", event({ choices: [{ delta: { reasoning_content: " " } }] })],
    ["comments", ":\n"],
    ["line ends", "\n"],
    ["events that say nothing", event({})],
  ] as const) {
    it(`leaves the event loop to others while it sends ${what}`, async () => {
      const controller = new AbortController();
      const stopped = new Error("stopped");
      const model = modelWith(async () => endless(piece));
      const answer = collect(model(questionOf(controller.signal)));
      setTimeout(() => controller.abort(stopped), 20);
      await assert.rejects(answer, (thrown) => thrown === stopped);
    });
  }
});

describe("blanks before an answer", () => {
  it("are looked at once each", () => {
    const filter = createThoughtFilter();
    let characters = 0;
    const startedAt = performance.now();
    for (let count = 0; count < 4_000_000; count += 1) characters += filter.take(" ").length;
    assert.equal(characters + filter.end().length, 4_000_000);
    assert.ok(performance.now() - startedAt < 10_000);
  });

  it("are an answer of their own where they are too many for a thought behind them", () => {
    for (const [blanks, expected] of [
      [4096, "answer"],
      [4097, `${" ".repeat(4097)}<think>a thought</think>answer`],
    ] as const) {
      const filter = createThoughtFilter();
      const pieces = [...Array.from({ length: blanks }, () => " "), "<thi", "nk>a thought</think>"];
      const text = [...pieces, "answer"].map((piece) => filter.take(piece)).join("");
      assert.equal(text + filter.end(), expected);
    }
  });
});

describe("an answer out of all proportion is refused for", () => {
  it("names and ids of calls that do not end", () => {
    for (const field of ["id", "name"]) {
      const collector = createCallCollector();
      const long = "x".repeat(600_000);
      const calls = ["a", "b"].map((id, index) =>
        field === "id"
          ? { index, id: id + long, function: { name: "device" } }
          : { index, id, function: { name: long } },
      );
      collector.take({ tool_calls: calls.slice(0, 1) });
      assert.throws(() => collector.take({ tool_calls: calls.slice(1) }), /too long/);
    }
  });

  it("blocks without a word", () => {
    const blocks = createBlockCollector("anthropic/claude");
    const begin = (index: number) => blocks.begin(index, { type: "text", text: "" });
    for (let index = 0; index < 1024; index += 1) begin(index);
    assert.throws(() => begin(1024), /too many blocks/);
  });
});

/** JSON that takes more than the stack to be written again. */
const DEEP = `${"[".repeat(32_000)}${"]".repeat(32_000)}`;

describe("JSON that is nested as deep as it likes", () => {
  it("is refused in an answer", async () => {
    for (const body of [`data: {"choices":${DEEP}}\n\n`, `{"choices":${DEEP}}`]) {
      const model = modelWith(async () => new Response(body));
      await modelFailureOf(collect(model(questionOf())));
    }
  });

  it("is an error in the words in which it came", async () => {
    const model = modelWith(async () => new Response(`{"error":${DEEP}}`, { status: 400 }));
    const failure = await modelFailureOf(collect(model(questionOf())));
    assert.match(failure.why ?? "", /HTTP 400: \{"error":\[\[\[/);
  });

  it("is no argument of a tool, and none in later questions", async () => {
    const call = { id: "1", name: "echo", arguments: `{"text":${DEEP}}` };
    const tool = {
      name: "echo",
      description: "",
      parameters: {},
      run: async () => assert.fail("it ran"),
    };
    assert.match(await runTool(call, { ...callContext(), tools: [tool] }), /nested too deeply/);
    assert.deepEqual(argumentsOf(call.arguments), {});
    assert.deepEqual(argumentsOf('{"text":"[[[[{{{{"}'), { text: "[[[[{{{{" });
  });
});

it("a server that announces its answer without end is silent: it ends at the deadline, and nobody else waits", async () => {
  await using server = await openAnnouncer();
  const model = modelWith(fetch, { api_base: server.base, request_timeout: 1 });
  const startedAt = performance.now();
  let turns = 0;
  const clock = setInterval(() => (turns += 1), 10);
  const failure = await modelFailureOf(collect(model(questionOf())));
  clearInterval(clock);
  assert.match(failure.message, /did not answer in time/);
  const took = performance.now() - startedAt;
  assert.ok(took < 5_000, `it took ${took} ms`);
  assert.ok(turns > 10, `the event loop had ${turns} turns`);
});

/** Sends answers of status 103 for as long as somebody takes them. */
async function openAnnouncer() {
  const sockets = new Set<Socket>();
  const piece = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n".repeat(100);
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    // With a breath between two pieces: it runs in this very process.
    const more = (): void =>
      void (socket.destroyed || socket.write(piece, () => setImmediate(more)));
    socket.once("data", more);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port }: AddressInfo = Object(server.address());
  return {
    base: `http://127.0.0.1:${port}/v1`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** A body of these pieces, one each 200 ms, that does not end. */
function dripping(piece: string): Response {
  const bytes = new TextEncoder().encode(piece);
  let timer: ReturnType<typeof setInterval>;
  return new Response(
    new ReadableStream<Uint8Array>({
      start(body) {
        timer = setInterval(() => body.enqueue(bytes), 200);
      },
      cancel: () => clearInterval(timer),
    }),
  );
}

describe("a model that gives signs of life", () => {
  for (const [what, piece] of [
    ["comments", ": wait\n\n"],
    ["blanks", " "],
  ] as const) {
    it(`and nothing of an answer is given up, be its signs ${what}`, async () => {
      const model = modelWith(async () => dripping(piece), { request_timeout: 1 });
      const startedAt = performance.now();
      const failure = await modelFailureOf(collect(model(questionOf())));
      assert.match(failure.why ?? "", /no piece of an answer came for 3 s/);
      const took = performance.now() - startedAt;
      assert.ok(took > 2_900 && took < 20_000, `it took ${took} ms`);
    });
  }

  it("and pieces of an answer may take as long as it likes", async () => {
    const text = Array.from({ length: 8 }, (_, index) => textEvent(`w${index} `));
    const last = event({ choices: [{ delta: {}, finish_reason: "stop" }] });
    const events = [...text, last, "data: [DONE]\n\n"];
    const body = new ReadableStream<Uint8Array>({
      async start(controller) {
        for (const one of events) {
          await new Promise((resolve) => setTimeout(resolve, 500));
          controller.enqueue(new TextEncoder().encode(one));
        }
        controller.close();
      },
    });
    const model = modelWith(async () => new Response(body), { request_timeout: 1 });
    const { text: said } = await collect(model(questionOf()));
    assert.equal(said, "w0 w1 w2 w3 w4 w5 w6 w7 ");
  });
});
