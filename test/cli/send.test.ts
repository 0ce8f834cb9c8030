import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import type { OutputFormat } from "../../src/cli/args/flags.ts";
import { createAnswerPrinter } from "../../src/cli/ask.ts";
import { ask, type Outcome } from "../../src/cli/ask.ts";
import { resultLine } from "../../src/cli/report.ts";
import { stopTurn } from "../../src/cli/request.ts";
import type { AnswerPart, RequestOptions } from "../../src/mqtt/contract.ts";
import { codePoint } from "../support/code-point.ts";
import { createMemoryOutput, type MemoryOutput } from "./memory.ts";

type Said = Partial<AnswerPart> & { readonly text: string };

interface Scene {
  readonly parts: readonly Said[];
  /** What the device throws after the parts. */
  readonly thrown?: unknown;
  readonly form?: OutputFormat;
  readonly isTTY?: boolean;
  readonly signal?: AbortSignal;
}

interface Seen extends Outcome {
  readonly stdout: MemoryOutput;
  readonly stderr: MemoryOutput;
  readonly question: RequestOptions;
}

/** Asks a device that says these parts, 10 ms apart on a clock that the device turns. */
async function play({ parts, thrown, form = "text", isTTY = false, signal }: Scene): Promise<Seen> {
  const stdout = createMemoryOutput({ isTTY });
  const stderr = createMemoryOutput();
  let clock = 1000;
  const question = {
    client: "kitchen",
    text: "how warm is it?",
    id: "r-1",
    firstPartMs: 5,
    nextPartMs: 6,
    signal: signal ?? new AbortController().signal,
  };
  const requester = {
    async *request(asked: RequestOptions) {
      assert.equal(asked, question);
      for (const [seq, said] of parts.entries()) {
        clock += 10;
        yield partOf(said, seq, seq === parts.length - 1);
      }
      if (thrown !== undefined) throw thrown;
      await Promise.resolve();
    },
  };
  const printer = createAnswerPrinter(form, { stdout, stderr });
  const outcome = await ask({ requester, question, printer, now: () => clock });
  return { ...outcome, stdout, stderr, question };
}

function partOf(said: Said, seq: number, done: boolean): AnswerPart {
  const payload = Buffer.from(JSON.stringify({ text: said.text, seq }));
  return { seq, restart: seq === 0, done, payload, ...said };
}

function linesOf(output: MemoryOutput): unknown[] {
  return output
    .text()
    .trimEnd()
    .split("\n")
    .map((line): unknown => JSON.parse(line));
}

describe("an answer as text", () => {
  it("is its parts as they come, and a newline at the end if it has none", async () => {
    const { stdout, stderr, result, failure } = await play({
      parts: [{ text: "it is " }, { text: "21 °C" }],
    });
    assert.equal(stdout.text(), "it is 21 °C\n");
    assert.equal(stderr.text(), "");
    assert.equal(failure, undefined);
    assert.deepEqual(result, {
      outcome: "ok",
      exit: 0,
      id: "r-1",
      client: "kitchen",
      text: "it is 21 °C",
      msFirst: 10,
      msLast: 20,
    });
  });

  it("gets no second newline, also where the last part is empty", async () => {
    const { stdout } = await play({ parts: [{ text: "a\n" }, { text: "" }] });
    assert.equal(stdout.text(), "a\n");
  });

  it("passes a pipe byte for byte", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: "grapheme" })), async (texts) => {
        const { stdout, result } = await play({ parts: texts.map((text) => ({ text })) });
        const whole = texts.join("");
        assert.equal(stdout.text(), whole === "" || whole.endsWith("\n") ? whole : `${whole}\n`);
        if (texts.length > 0) assert.equal(result.text, whole);
      }),
    );
  });

  it("shows controls on a terminal, and keeps newlines and tabs", async () => {
    const parts = [{ text: "a\tb\n\u001b[31mred\u009b2J\u202e" }];
    const terminal = await play({ parts, isTTY: true });
    assert.equal(terminal.stdout.text(), "a\tb\n\\x1b[31mred\\x9b2J\\u202e\n");
    const pipe = await play({ parts });
    assert.equal(pipe.stdout.text(), "a\tb\n\u001b[31mred\u009b2J\u202e\n");
  });

  it("that begins anew says so on stderr and forgets what came before", async () => {
    const { stdout, stderr, result } = await play({
      parts: [{ text: "it is 2" }, { text: "It is ", restart: true }, { text: "21" }],
    });
    assert.equal(stdout.text(), "it is 2\nIt is 21\n");
    assert.equal(stderr.text(), "note: the answer starts again; ignore the text above\n");
    assert.equal(result.text, "It is 21");
  });

  it("that begins anew before anything was shown is not worth a word", async () => {
    const { stdout, stderr } = await play({
      parts: [{ text: "" }, { text: "x", restart: true }],
    });
    assert.equal(stdout.text() + stderr.text(), "x\n");
  });
});

describe("an answer that takes long", () => {
  it("is noted on stderr once, by its second empty part, and not by the last", async () => {
    const { stdout, stderr, result } = await play({
      parts: [{ text: "" }, { text: "" }, { text: "" }, { text: "x" }, { text: "" }],
    });
    assert.equal(stdout.text(), "x\n");
    assert.equal(stderr.text(), "note: the agent is still working\n");
    assert.equal(result.text, "x");
    const short = await play({ parts: [{ text: "" }, { text: "x" }, { text: "" }] });
    assert.equal(short.stderr.text(), "");
  });
});

describe("an answer that is an error", () => {
  const error = { code: "busy", retryAfter: 30 };

  it("is told as a failure, and not printed as an answer", async () => {
    const { stdout, result, failure } = await play({
      parts: [{ text: "I was say" }, { text: "Too much to do.", error }],
    });
    assert.equal(stdout.text(), "I was say\n");
    assert.equal(failure?.message, "Too much to do.");
    assert.equal(failure.why, 'the agent answered with the error "busy"');
    assert.equal(failure.remedy, "ask again in 30 s");
    assert.deepEqual(result, {
      outcome: "busy",
      exit: 1,
      id: "r-1",
      client: "kitchen",
      message: "Too much to do.",
      text: "I was say",
      retryAfter: 30,
      msFirst: 10,
      msLast: 20,
    });
  });

  it("has a sentence even where the agent sent none", async () => {
    const { failure } = await play({ parts: [{ text: " ", error: { code: "whatever" } }] });
    assert.equal(failure?.message, "the agent answered with an error");
  });
});

describe("a turn that nobody waits for", () => {
  it("is stopped with /stop under the same client", async () => {
    const published: unknown[] = [];
    const publishRequest = ({ client, text }: Pick<RequestOptions, "client" | "text">) => {
      published.push([client, text]);
      return Promise.resolve();
    };
    assert.ok(await stopTurn({ publishRequest }, "kitchen"));
    assert.deepEqual(published, [["kitchen", "/stop"]]);
  });

  it("goes on if the broker does not take that", async () => {
    const failure = new Failure("no_answer", "no answer");
    const requester = { publishRequest: () => Promise.reject(failure) };
    assert.ok(!(await stopTurn(requester, "kitchen")));
  });
});

describe("asking ends with a failure", () => {
  it("of the device, and keeps what came", async () => {
    const thrown = new Failure("cut_off", "the answer was cut off");
    const { stdout, result, failure } = await play({ parts: [{ text: "it is" }], thrown });
    assert.equal(failure, thrown);
    assert.equal(stdout.text(), "it is\n");
    assert.deepEqual([result.outcome, result.exit, result.text], ["cut_off", 7, "it is"]);
  });

  it("when interrupted, however the device ends then", async () => {
    const interrupted = AbortSignal.abort(new Failure("interrupted", "interrupted"));
    for (const thrown of [undefined, new Error("aborted"), new Failure("cut_off", "cut off")]) {
      const parts = [{ text: "it", done: false }];
      const { result } = await play({ parts, thrown, signal: interrupted });
      assert.deepEqual([result.outcome, result.exit], ["interrupted", 130]);
    }
  });

  it("but not when interrupted after the last part", async () => {
    const signal = AbortSignal.abort(new Failure("interrupted", "interrupted"));
    assert.equal((await play({ parts: [{ text: "it is 21" }], signal })).result.outcome, "ok");
  });

  it("where nothing at all was said", async () => {
    const { result } = await play({ parts: [] });
    assert.deepEqual([result.outcome, result.exit], ["no_answer", 3]);
  });

  it("of ours where something else is thrown", async () => {
    const { result } = await play({ parts: [], thrown: new TypeError("x is not a function") });
    assert.deepEqual([result.outcome, result.exit], ["internal", 1]);
  });
});

describe("an answer as JSON", () => {
  it("is a line for each part, and the result is another", async () => {
    const { stdout, result } = await play({
      form: "json",
      parts: [{ text: "it is " }, { text: "Busy.", error: { code: "busy", retryAfter: 3 } }],
    });
    assert.deepEqual(linesOf(stdout), [
      { v: 1, type: "part", text: "it is ", seq: 0, restart: true, done: false },
      {
        v: 1,
        type: "part",
        text: "Busy.",
        seq: 1,
        restart: false,
        done: true,
        error: { code: "busy", retry_after: 3 },
      },
    ]);
    assert.deepEqual(JSON.parse(resultLine(result, createRedactor())), {
      v: 1,
      type: "result",
      ok: false,
      outcome: "busy",
      exit: 1,
      message: "Busy.",
      id: "r-1",
      client: "kitchen",
      text: "it is ",
      retry_after: 3,
      ms_first: 10,
      ms_last: 20,
    });
  });

  it("is one line of printable characters that reads back as it was", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: codePoint }), async (text) => {
        const { stdout } = await play({ form: "json", parts: [{ text }] });
        const line = stdout.text();
        assert.equal(line.indexOf("\n"), line.length - 1);
        assert.doesNotMatch(line.trimEnd(), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        const [part] = linesOf(stdout);
        assert.ok(typeof part === "object" && part !== null && "text" in part);
        assert.equal(part.text, text);
      }),
    );
  });
});

describe("an answer as it came", () => {
  const payload = new Uint8Array([0xff, 0x1b, 0x5b, 0x41]);

  it("is its bytes and a newline in a pipe", async () => {
    const { stdout } = await play({ form: "raw", parts: [{ text: "", payload }, { text: "x" }] });
    const second = Buffer.from('{"text":"x","seq":1}\n');
    assert.deepEqual(stdout.bytes(), Buffer.concat([payload, Buffer.from("\n"), second]));
  });

  it("cannot control a terminal", async () => {
    const { stdout } = await play({ form: "raw", isTTY: true, parts: [{ text: "", payload }] });
    assert.equal(stdout.text(), "\ufffd\\x1b[A\n");
  });
});
