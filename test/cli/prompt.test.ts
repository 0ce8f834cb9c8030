import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import type { InputHistory } from "../../src/cli/terminal/input-history.ts";
import { askLine, openPrompt } from "../../src/cli/terminal/prompt.ts";
import { until } from "../support/until.ts";
import { createMemoryOutput } from "./memory.ts";

/** A history in memory. */
function createHistory(): InputHistory {
  const lines: string[] = [];
  return {
    lines: () => lines,
    add(line) {
      lines.unshift(line);
      return Promise.resolve();
    },
  };
}

function createTerminal(isTTY: boolean) {
  const stream = new PassThrough();
  const stderr = createMemoryOutput({ isTTY });
  const stop = new AbortController();
  const prompt = openPrompt({ stdin: { isTTY, stream }, stderr }, stop.signal, createHistory());
  return { prompt, stream, stderr, stop };
}

describe("the prompt", () => {
  it("asks on stderr and hands on one line after the other", async () => {
    const { prompt, stream, stderr } = createTerminal(false);
    for (const line of ["how warm is it?", "", "exit"]) {
      const next = prompt.next();
      stream.write(`${line}\n`);
      assert.equal(await next, line);
    }
    assert.equal(stderr.text(), "> > > ");
  });

  it("ends with the input, on a line of its own", async () => {
    const { prompt, stream, stderr } = createTerminal(false);
    const next = prompt.next();
    stream.end();
    assert.equal(await next, undefined);
    assert.equal(stderr.text(), "> \n");
  });

  it("ends at Ctrl-C and Ctrl-D on a terminal", async () => {
    const interrupted = createTerminal(true);
    const first = interrupted.prompt.next();
    interrupted.stream.write("\u0003");
    await assert.rejects(first, { code: "interrupted" });
    const ended = createTerminal(true);
    const second = ended.prompt.next();
    ended.stream.write("\u0004");
    assert.equal(await second, undefined);
  });

  it("leaves the cursor on a line of its own where a question is interrupted", async () => {
    for (const key of ["\u0003", "\u0004"]) {
      const { stream, stderr, stop } = createTerminal(true);
      const answer = askLine({ stdin: { isTTY: true, stream }, stderr }, "Name: ", stop.signal);
      await until("it asks", () => stderr.text().endsWith("[7G"));
      stream.write(key);
      await assert.rejects(answer, { code: "interrupted" });
      assert.match(stderr.text(), /Name: [^\n]*\n$/);
    }
  });

  it("brings back what was typed before with the up key", async () => {
    const { prompt, stream } = createTerminal(true);
    const first = prompt.next();
    stream.write("first\r");
    assert.equal(await first, "first");
    const second = prompt.next();
    stream.write("\u001b[A\r");
    assert.equal(await second, "first");
  });

  it("drops what is typed at the first Ctrl-C, and ends at the next one", async () => {
    const { prompt, stream } = createTerminal(true);
    const line = prompt.next();
    stream.write("wrong\u0003right\r");
    assert.equal(await line, "right");
    const end = prompt.next();
    stream.write("wrong\u0003\u0003");
    await assert.rejects(end, { code: "interrupted" });
  });

  it("ends with the signal's reason", async () => {
    const { prompt, stop } = createTerminal(false);
    const next = prompt.next();
    stop.abort(new Failure("terminated", "terminated"));
    await assert.rejects(next, { code: "terminated" });
    await assert.rejects(prompt.next(), { code: "terminated" });
  });
});
