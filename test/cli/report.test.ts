import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { asFailure, Failure } from "../../src/base/failure.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { EXIT_CODES, exitCodeOf } from "../../src/cli/exit-codes.ts";
import { reportOf, wrapFor } from "../../src/cli/report.ts";
import { isColoured } from "../../src/cli/terminal/colour.ts";
import { createMemoryOutput } from "./memory.ts";

const plain = { coloured: false, debug: false, redactor: createRedactor(["hunter22"]) };

describe("a failure on stderr", () => {
  it("says what happened, why, and what to try", () => {
    const failure = new Failure("unreachable", "the broker cannot be reached", {
      why: "ECONNREFUSED 127.0.0.1:1883, from config.json line 4",
      remedy: "picoclaw doctor",
    });
    assert.equal(
      reportOf(failure, plain),
      "error: the broker cannot be reached\n" +
        "  ECONNREFUSED 127.0.0.1:1883, from config.json line 4\n" +
        "try: picoclaw doctor\n",
    );
  });

  it("has at most four lines, whatever is in it", () => {
    const text = `a\nb\r\nc\u001b[2Jd\n${"e".repeat(100_000)}`;
    const failure = new Failure("failed", text, { why: text, remedy: text });
    const report = reportOf(failure, plain);
    assert.equal(report.trimEnd().split("\n").length, 4);
    assert.ok(report.length < 2100);
    assert.ok(!report.includes("\u001b"));
  });

  it("tells all faults of a configuration in one go", () => {
    const failure = new Failure("config", "3 values are wrong", { why: "one\ntwo\nthree" });
    assert.equal(reportOf(failure, plain), "error: 3 values are wrong\n  one\n  two\n  three\n");
  });

  it("has a stack only with --debug, and then those of the causes, too", () => {
    const failure = asFailure(new TypeError("x is not a function"));
    assert.doesNotMatch(reportOf(failure, plain), /report\.test/);
    const debug = reportOf(failure, { ...plain, debug: true });
    assert.match(debug, /TypeError: x is not a function\n.*report\.test/);
  });

  it("breaks lines between words on a terminal, and nowhere else", async () => {
    const failure = new Failure("failed", "the broker cannot be reached from here", {
      why: "ECONNREFUSED 127.0.0.1:1883",
      remedy: "start the broker, or correct the address",
    });
    const narrow = await wrapFor(createMemoryOutput({ isTTY: true, columns: 30 }));
    assert.equal(
      reportOf(failure, { ...plain, wrap: narrow }),
      "error: the broker cannot be\n       reached from here\n" +
        "  ECONNREFUSED 127.0.0.1:1883\n" +
        "try: start the broker, or\n     correct the address\n",
    );
    assert.equal(await wrapFor(createMemoryOutput()), undefined);
  });

  it("has colours where they are wanted", () => {
    const failure = new Failure("failed", "no", { remedy: "yes" });
    const coloured = reportOf(failure, { ...plain, coloured: true });
    assert.match(coloured, /^\S+error:\S+ no\n\S+try:\S+ yes\n$/);
    assert.ok(coloured.startsWith("\u001b["));
  });
});

describe("colours", () => {
  const terminal = createMemoryOutput({ isTTY: true });
  const none = { has: () => false };
  const cases = [
    { title: "are on a terminal", env: { TERM: "xterm" }, flags: none, coloured: true },
    { title: "stay with an empty NO_COLOR", env: { NO_COLOR: "" }, flags: none, coloured: true },
    { title: "are off with NO_COLOR", env: { NO_COLOR: "1" }, flags: none, coloured: false },
    { title: "are off where TERM is dumb", env: { TERM: "dumb" }, flags: none, coloured: false },
    {
      title: "are off with --json or --no-color",
      env: {},
      flags: { has: () => true },
      coloured: false,
    },
  ];
  for (const { title, env, flags, coloured } of cases) {
    it(title, () => assert.equal(isColoured(terminal, env, flags), coloured));
  }
  it("are never in a pipe", () => {
    assert.equal(isColoured(createMemoryOutput(), { TERM: "xterm" }, none), false);
  });
});

describe("exit codes", () => {
  const codes = {
    usage: 2,
    config: 78,
    unreachable: 4,
    refused: 5,
    unserved: 6,
    no_answer: 3,
    cut_off: 7,
    failed: 1,
    interrupted: 130,
    terminated: 143,
    model: 1,
    internal: 1,
    busy: 1,
  } as const;
  it("are those of the contract", () => {
    for (const code of Object.keys(codes).filter(
      (key): key is keyof typeof codes => key in codes,
    )) {
      assert.equal(exitCodeOf({ code }), codes[code], code);
      assert.ok(EXIT_CODES.has(codes[code]));
    }
  });
});
