import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import type { OutputFormat } from "../../src/cli/args/flags.ts";
import { createWatchPrinter, watch, type WatchRun } from "../../src/cli/commands/listen.ts";
import { pipedLine } from "../../src/cli/commands/listen.ts";
import { createPaint } from "../../src/cli/terminal/colour.ts";
import { createWatchLines } from "../../src/cli/terminal/watch-lines.ts";
import type { Watched, WatchedMessage, WatchOptions } from "../../src/mqtt/contract.ts";
import { codePoint } from "../support/code-point.ts";
import { PNG } from "../support/images.ts";
import { createMemoryOutput } from "./memory.ts";

const time = new Date("2026-01-02T03:04:05.678Z");
const message: WatchedMessage = {
  type: "message",
  time,
  client: "kitchen",
  direction: "request",
  payload: Buffer.from('{"text":"how warm?"}'),
  text: "how warm?",
  retained: false,
};
const noise: readonly Watched[] = [
  { type: "connection", time, state: "connected" },
  message,
  { type: "connection", time, state: "lost", reason: "ECONNRESET\u001b[2J" },
  { type: "connection", time, state: "restored", gapMs: 5300 },
  { ...message, direction: "response", text: "21 °C", id: "r-1", seq: 0, done: true },
];

interface Scene extends Partial<Pick<WatchRun, "count" | "forMs" | "signal">> {
  readonly passing?: readonly Watched[];
  readonly form?: OutputFormat;
  readonly isTTY?: boolean;
  /** The device ends by itself instead of waiting for the signal. */
  readonly ends?: boolean;
}

/** Watches a device that reports these things and then, as the contract says, waits for the signal. */
async function play(scene: Scene) {
  const stdout = createMemoryOutput({ isTTY: scene.isTTY ?? false });
  const stderr = createMemoryOutput();
  let closed = false;
  const requester = {
    async *watch({ signal }: WatchOptions) {
      try {
        yield* scene.passing ?? noise;
        if (!scene.ends && !signal.aborted) {
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
        }
      } finally {
        closed = true;
      }
    },
  };
  const paint = createPaint(false);
  const ended = watch({
    requester,
    what: { clients: [], requests: true, responses: true },
    count: scene.count,
    forMs: scene.forMs,
    print: createWatchPrinter(scene.form ?? "text", { stdout, stderr, paint }),
    signal: scene.signal ?? new AbortController().signal,
  });
  const failure = await ended.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(closed, "the device was left watching");
  return { failure, stdout: stdout.text(), stderr: stderr.text() };
}

function codeOf(failure: unknown): string | undefined {
  return failure instanceof Failure ? failure.code : undefined;
}

describe("listen ends", () => {
  it("well once the count is full, and the connection's changes do not count", async () => {
    const { failure, stdout } = await play({ count: 2 });
    assert.equal(failure, undefined);
    assert.equal(stdout.split("\n").length, 3);
  });

  it("well when the time is over and no count was asked for", async () => {
    assert.equal((await play({ forMs: 1 })).failure, undefined);
  });

  it("with no_answer when the time is over before the count is full", async () => {
    const { failure } = await play({ forMs: 1, count: 5 });
    assert.equal(codeOf(failure), "no_answer");
    assert.match(String(failure), /2 of 5 messages arrived in 1ms/);
  });

  it("well at Ctrl-C, whatever is missing", async () => {
    const signal = AbortSignal.abort(new Failure("interrupted", "interrupted"));
    assert.equal((await play({ signal, count: 5 })).failure, undefined);
  });

  it("with the signal's reason at SIGTERM", async () => {
    const signal = AbortSignal.abort(new Failure("terminated", "terminated"));
    assert.equal(codeOf((await play({ signal })).failure), "terminated");
  });

  it("as unreachable where the device gives up by itself", async () => {
    assert.equal(codeOf((await play({ ends: true })).failure), "unreachable");
  });
});

describe("what listen prints", () => {
  it("in a pipe is a line a message; the connection is told on stderr", async () => {
    const { stdout, stderr } = await play({ count: 2 });
    assert.equal(
      stdout,
      "2026-01-02T03:04:05.678Z\tkitchen\trequest\thow warm?\n" +
        "2026-01-02T03:04:05.678Z\tkitchen\tresponse\t21 °C\n",
    );
    assert.equal(
      stderr,
      "note: connected; press Ctrl-C to end\n" +
        "note: disconnected: ECONNRESET\\x1b[2J; reconnecting\n" +
        "note: reconnected; messages of the last 5.3s may be missing\n",
    );
  });

  it("on a terminal has local time, a sign and the time of the answer", async () => {
    const passing = [
      { ...message, id: "r-1" },
      { ...message, direction: "response", text: "It", id: "r-1", seq: 0 },
      { ...message, direction: "response", text: "", id: "r-1", seq: 1 },
      {
        ...message,
        time: new Date(time.getTime() + 1900),
        direction: "response",
        text: " is\n21 °C",
        id: "r-1",
        seq: 2,
        done: true,
      },
      {
        ...message,
        direction: "response",
        text: "too many",
        id: "r-2",
        seq: 0,
        done: true,
        error: { code: "busy", retryAfter: 30 },
      },
    ] as const;
    const { stdout } = await play({ isTTY: true, passing, count: 5 });
    assert.equal(
      stdout.replaceAll(/^\d\d:\d\d:\d\d/gm, "hh:mm:ss"),
      [
        "hh:mm:ss kitchen > how warm?",
        "hh:mm:ss kitchen · It",
        "hh:mm:ss kitchen · (still working)",
        "hh:mm:ss kitchen <  is",
        "                   21 °C (1.9 s)",
        "hh:mm:ss kitchen ! too many (busy, again in 30 s)",
        "",
      ].join("\n"),
    );
    const local = [time.getHours(), time.getMinutes(), time.getSeconds()];
    assert.ok(stdout.startsWith(local.map((part) => String(part).padStart(2, "0")).join(":")));
  });

  it("on a terminal colours what it is", () => {
    const paint = createPaint(true);
    const lines = createWatchLines({ paint, columns: () => 80, textOf: ({ text = "" }) => text });
    assert.ok(lines(message).includes("\u001b[36m>\u001b[39m \u001b[36mhow warm?\u001b[39m"));
    const answer = { ...message, direction: "response", text: "21", done: true } as const;
    assert.ok(lines(answer).includes("\u001b[32m<"));
    assert.ok(lines({ ...answer, error: { code: "busy" } }).includes("\u001b[31m!"));
  });

  it("on a terminal lets no text forge a message, however narrow it is", () => {
    const text =
      "\n12:00:00 kitchen > no\u001b[2A\r" + "12:00:00\u00a0kitchen\u00a0>\u00a0no".repeat(9);
    for (const columns of [80, 40, 12]) {
      const lines = createWatchLines({
        paint: createPaint(false),
        columns: () => columns,
        textOf: () => text,
      });
      const [first = "", ...further] = lines({ ...message, client: "k".repeat(60) }).split("\n");
      assert.match(first, /^\d\d:\d\d:\d\d k+… >/);
      for (const line of further) assert.match(line, /^(?: {2}.*)?$/);
      for (const line of further) assert.ok(line.length <= columns, line);
    }
  });

  it("as JSON is a line for all that happened", async () => {
    const { stdout } = await play({ form: "json", count: 2 });
    const at = "2026-01-02T03:04:05.678Z";
    assert.deepEqual(
      stdout
        .trimEnd()
        .split("\n")
        .map((line): unknown => JSON.parse(line)),
      [
        { v: 1, type: "connection", time: at, state: "connected" },
        {
          v: 1,
          type: "message",
          time: at,
          client: "kitchen",
          direction: "request",
          text: "how warm?",
          retained: false,
        },
        { v: 1, type: "connection", time: at, state: "lost", reason: "ECONNRESET\u001b[2J" },
        { v: 1, type: "connection", time: at, state: "restored", gap_ms: 5300 },
        {
          v: 1,
          type: "message",
          time: at,
          client: "kitchen",
          direction: "response",
          text: "21 °C",
          id: "r-1",
          seq: 0,
          done: true,
          retained: false,
        },
      ],
    );
  });

  it("as JSON has the payload where it is not what the contract says", async () => {
    const { text: _, ...other } = message;
    const passing = [
      { ...other, payload: Buffer.from("\ufeffplain") },
      { ...other, payload: new Uint8Array([0xff]), error: { code: "busy", retryAfter: 2 } },
    ];
    const { stdout } = await play({ form: "json", passing, count: 2 });
    const [first, second] = stdout.split("\n");
    assert.match(first ?? "", /"retained":false,"payload":"\\ufeffplain"\}$/);
    assert.match(
      second ?? "",
      /"error":\{"code":"busy","retry_after":2\}.*"payload_base64":"\/w=="\}$/,
    );
  });

  it("raw is the payloads alone", async () => {
    const { stdout } = await play({ form: "raw", count: 1 });
    assert.equal(stdout, '{"text":"how warm?"}\n');
  });

  it("names a payload that is an image", () => {
    const line = pipedLine({ ...message, text: undefined, payload: PNG });
    assert.ok(line.endsWith(`\t[image/png, ${PNG.length} bytes]\n`), line);
  });

  it("tells a newline from the two characters that stand for it", () => {
    const line = pipedLine({ ...message, text: "a\nb\\nc\\" });
    assert.ok(line.endsWith("\ta\\nb\\\\nc\\\\\n"), line);
  });

  it("is one line with three tabs that can be read back, whatever the text and the client", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: codePoint }),
        fc.string({ unit: codePoint }),
        (text, client) => {
          const line = pipedLine({ ...message, text, client });
          assert.equal(line.split("\n").length, 2);
          const fields = line.slice(0, -1).split("\t");
          assert.equal(fields.length, 4);
          assert.doesNotMatch(line.slice(0, -1).replaceAll("\t", ""), /\p{Cc}/u);
          assert.equal(unescaped(fields[1] ?? ""), client);
          assert.equal(unescaped(fields[3] ?? ""), text);
        },
      ),
    );
  });
});

function unescaped(text: string): string {
  return text.replaceAll(
    /\\(?:([\\nrt])|x([0-9a-f]{2})|u([0-9a-f]{4}))/g,
    (_, short?: string, byte?: string, unit?: string) => {
      const named: Record<string, string> = { n: "\n", r: "\r", t: "\t", "\\": "\\" };
      return short === undefined
        ? String.fromCharCode(Number.parseInt(byte ?? unit ?? "", 16))
        : (named[short] ?? "");
    },
  );
}
