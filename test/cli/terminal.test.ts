import assert from "node:assert/strict";
import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { createAnswerText } from "../../src/cli/terminal/answer-text.ts";
import { openInputHistory } from "../../src/cli/terminal/input-history.ts";
import { createSpinner } from "../../src/cli/terminal/spinner.ts";
import { table } from "../../src/cli/terminal/table.ts";
import { columnsOf, fitted } from "../../src/cli/terminal/width.ts";
import { createWordWrap, wrapped } from "../../src/cli/terminal/word-wrap.ts";
import { cpuTimeOf } from "../support/cpu-time.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { createMemoryOutput } from "./memory.ts";

/** What stands on a terminal after the codes that erase the end of a line. */
function shown(output: string): string {
  let text = "";
  for (const [token] of output.matchAll(/\p{Cc}\[\d+D\p{Cc}\[K|[^]/gu)) {
    const back = /^\p{Cc}\[(\d+)D/u.exec(token);
    text = back === null ? text + token : text.slice(0, text.length - Number(back[1]));
  }
  return text;
}

function wrappedPieces(pieces: readonly string[], columns: number, canErase = true): string {
  const wrap = createWordWrap({ columns: () => columns, canErase });
  return shown(pieces.map((piece) => wrap.add(piece)).join("") + wrap.end());
}

describe("the width of text", () => {
  it("is that of a terminal", () => {
    const widths = { abc: 3, "21 °C": 5, 漢字: 4, "🦞": 2, "👨‍👩‍👧": 2, "e\u0301": 1, "❤️": 2, "": 0 };
    for (const [text, width] of Object.entries(widths)) assert.equal(columnsOf(text), width, text);
  });

  it("is held by cutting between characters", () => {
    assert.equal(fitted("kitchen", 7), "kitchen");
    assert.equal(fitted("kitchen", 5), "kitc…");
    assert.equal(fitted("漢字漢字", 6), "漢字…");
    assert.equal(fitted("漢字", 0), "");
  });
});

describe("word wrap", () => {
  const words = fc.array(fc.stringMatching(/^[a-z]{1,12}$/), { minLength: 1, maxLength: 60 });

  it("breaks between words, wherever the pieces of the text were cut", () => {
    fc.assert(
      fc.property(words, fc.integer({ min: 1, max: 9 }), (all, size) => {
        const text = all.join(" ");
        const pieces = text.match(new RegExp(`.{1,${size}}`, "g")) ?? [];
        const lines = wrappedPieces(pieces, 20).split("\n");
        assert.deepEqual(lines.map((line) => line.trimEnd()).join(" "), text);
        for (const [index, line] of lines.entries()) {
          assert.ok(line.trimEnd().length <= 20, line);
          const next = lines[index + 1]?.split(" ")[0];
          if (next !== undefined) assert.ok(line.trimEnd().length + 1 + next.length > 20, line);
        }
      }),
    );
  });

  it("shows each piece at once", () => {
    const wrap = createWordWrap({ columns: () => 80, canErase: true });
    assert.equal(wrap.add("let me lo"), "let me lo");
    assert.equal(wrap.add("ok"), "ok");
  });

  it("leaves the end of a word to the terminal if nothing may be erased", () => {
    assert.equal(wrappedPieces(["one tw", "o three"], 7, false), "one two\nthree");
    assert.equal(wrappedPieces(["one tw", "oooo"], 8, false), "one twoooo");
  });

  it("keeps newlines, indentation, code and long words as they are", () => {
    for (const text of [
      "  two\n\n   three\tx\n",
      "```\na line of code that is long\n```\n",
      "https://example.com/a/long/address",
    ]) {
      assert.equal(wrappedPieces([text], 20), text);
    }
  });

  it("breaks between wide characters, two columns each", () => {
    assert.equal(wrappedPieces(["漢字漢", "字漢字"], 8), "漢字漢字\n漢字");
    assert.equal(wrappedPieces(["ab 漢字漢字 cd"], 7), "ab 漢字\n漢字 cd");
  });

  it("holds the width with an indentation, also in code and in long words", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme-ascii", maxLength: 200 }), (text) => {
        const lines = wrapped(`\`\`\`\n${text}`, 30, 10).split("\n");
        for (const [index, line] of lines.entries()) {
          if (index > 0 && line !== "") assert.ok(line.startsWith(" ".repeat(10)), line);
          assert.ok(columnsOf(line.trim()) <= 20, line);
        }
      }),
    );
  });

  it("takes little time for a long word", async () => {
    const took = await cpuTimeOf(() => {
      const wrap = createWordWrap({ columns: () => 80, canErase: true });
      for (let piece = 0; piece < 20_000; piece += 1) wrap.add("äöü");
      assert.equal(wrap.end(), "");
    });
    assert.ok(took < 5_000);
  });

  it("changes nothing in a pipe", async () => {
    const stdout = createMemoryOutput({ columns: 10 });
    const answer = createAnswerText(stdout);
    await answer.write("one two three four \u001b[2J");
    assert.ok(await answer.end());
    assert.equal(stdout.text(), "one two three four \u001b[2J\n");
    assert.ok(!(await answer.end()));
  });
});

describe("the spinner", () => {
  const flags = { has: () => false };

  it("says what is waited for and how long, and is gone before the text", async () => {
    const [stdout, stderr] = [
      createMemoryOutput({ isTTY: true }),
      createMemoryOutput({ isTTY: true, columns: 20 }),
    ];
    const spinner = createSpinner({ stdout, stderr, env: {} }, flags);
    spinner.start("a long name of a model");
    await until("it is shown", () => stderr.text() !== "");
    assert.match(stderr.text(), /^\r\p{Cc}\[K\S a long name of a…$/u);
    await spinner.stderr.write("note\n");
    assert.ok(stderr.text().endsWith("\r\u001b[Knote\n"));
    await until("it comes again", () => !stderr.text().endsWith("note\n"));
    await spinner.stdout.write("text");
    assert.ok(stderr.text().endsWith("\r\u001b[K"));
    const length = stderr.text().length;
    await spinner.stop();
    assert.equal(stderr.text().length, length);
  });

  it("is not there in a pipe, on a plain terminal, without colours and with --debug or --json", () => {
    const [pipe, terminal] = [createMemoryOutput(), createMemoryOutput({ isTTY: true })];
    const isShown = (stderr = terminal, env = {}, flag = "") =>
      createSpinner({ stdout: pipe, stderr, env }, { has: (name) => name === flag }).isShown;
    assert.ok(isShown());
    assert.ok(!isShown(pipe));
    assert.ok(!isShown(terminal, { TERM: "dumb" }));
    assert.ok(!isShown(terminal, { NO_COLOR: "1" }));
    for (const flag of ["json", "debug", "no-color"]) assert.ok(!isShown(terminal, {}, flag), flag);
  });
});

describe("what was typed", () => {
  it("is there for the next process, for nobody else", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "state", "input-history");
    const first = await openInputHistory(file);
    for (const line of ["one", "one", " secret", "two\u001b[A", "two", ""]) await first.add(line);
    assert.deepEqual(first.lines(), ["two", "one"]);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    await chmod(file, 0o644);
    const second = await openInputHistory(file);
    assert.deepEqual(second.lines(), ["two", "one"]);
    await second.add("three");
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.equal(await readFile(file, "utf8"), "one\ntwo\nthree\n");
  });

  it("is bounded, in memory and on the disk", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "input-history");
    const lines = Array.from({ length: 1500 }, (_, index) => `line ${index}`);
    await writeFile(file, `${lines.join("\n")}\n`);
    const history = await openInputHistory(file);
    assert.equal(history.lines().length, 200);
    assert.equal(history.lines()[0], "line 1499");
    assert.equal((await readFile(file, "utf8")).split("\n").length, 201);
  });

  it("is kept in memory where no file can be written", async () => {
    const history = await openInputHistory("/dev/null/input-history");
    await history.add("one");
    assert.deepEqual(history.lines(), ["one"]);
  });
});

describe("a table", () => {
  const head = ["agent", "status", "since"];
  const rows = [
    ["garden", "offline", ""],
    ["küche-日本", "online", "2026-11-30"],
  ];

  it("has columns of equal width, also of wide characters", () => {
    assert.equal(
      table(head, rows, 80),
      "agent       status   since\ngarden      offline\nküche-日本  online   2026-11-30\n",
    );
  });

  it("is a list of records where the terminal is too narrow for it", () => {
    assert.equal(
      table(head, rows, 30),
      "garden\n  status  offline\nküche-日本\n  status  online\n  since   2026-11-30\n",
    );
    assert.equal(table(head, [], 10), "agent  status  since\n");
  });
});
