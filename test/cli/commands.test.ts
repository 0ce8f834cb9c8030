import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { COMMANDS, GLOBAL_FLAGS, namesOf } from "../../src/cli/args/commands.ts";
import { flagNamed, flagNames } from "../../src/cli/args/flags.ts";
import { parseCommandLine } from "../../src/cli/args/parse.ts";
import { commandHelp, exitCodesHelp, programHelp } from "../../src/cli/commands/help.ts";
import { EXIT_CODES } from "../../src/cli/exit-codes.ts";
import { createPaint } from "../../src/cli/terminal/colour.ts";

const paint = createPaint(false);

describe("the table of commands", () => {
  it("gives no name and no letter twice", () => {
    const names = COMMANDS.flatMap(namesOf);
    assert.deepEqual([...new Set(names)], names);
    const letters = flagNames().flatMap((name) => flagNamed(name).letter ?? []);
    assert.deepEqual([...new Set(letters)], letters);
  });

  it("has every flag on some command", () => {
    const used = new Set([...GLOBAL_FLAGS, ...COMMANDS.flatMap(({ flags }) => flags), "version"]);
    assert.deepEqual(
      flagNames().filter((name) => !used.has(name)),
      [],
    );
  });

  it("says of every flag that takes a value what the value is", () => {
    for (const name of flagNames()) {
      const { type, value } = flagNamed(name);
      assert.equal(value === undefined, type === "boolean", name);
    }
  });

  for (const { name, examples } of COMMANDS) {
    for (const { line } of examples) {
      it(`the example "${line}" of ${name} is right`, () => {
        const words = line.match(/picoclaw ([^>)]*)/)?.[1] ?? "";
        const args = [...words.matchAll(/"([^"]*)"|(\S+)/g)].map(
          ([, quoted, bare]) => quoted ?? bare ?? "",
        );
        const { command, failure } = parseCommandLine(args);
        assert.equal(failure?.message, undefined);
        assert.ok(command?.name === name || line === "picoclaw --version");
      });
    }
  }
});

describe("help", () => {
  for (const columns of [10, 40, 80, 500]) {
    it(`keeps within ${columns} columns, as far as words allow`, () => {
      const pages = [
        programHelp({ paint, columns }),
        exitCodesHelp({ paint, columns }),
        ...COMMANDS.map((command) => commandHelp(command, { paint, columns })),
      ];
      const widest = Math.max(
        ...pages.flatMap((page) => page.split("\n")).map(({ length }) => length),
      );
      assert.ok(widest <= Math.max(74, Math.min(columns, 100)), `${widest}`);
    });
  }

  it("lists every command", () => {
    const page = programHelp({ paint, columns: 80 });
    for (const { name } of COMMANDS) assert.match(page, new RegExp(`^  ${name}\\b`, "m"));
  });

  for (const command of COMMANDS) {
    it(`of ${command.name} has every flag that is not hidden, its default, and exit codes that exist`, () => {
      const page = commandHelp(command, { paint, columns: 100 });
      for (const name of [...command.flags, ...GLOBAL_FLAGS]) {
        assert.equal(page.includes(`--${name}`), flagNamed(name).hidden !== true, name);
      }
      for (const code of command.exits ?? []) assert.ok(EXIT_CODES.has(code), `${code}`);
    });
  }

  it("shows defaults and choices", () => {
    const send = COMMANDS.find(({ name }) => name === "send");
    assert.ok(send);
    const page = commandHelp(send, { paint, columns: 200 });
    assert.match(page, /--timeout TIME .*\(default 120s\)/);
    assert.match(page, /\(auto, 5, 4\)/);
  });

  it("has colours only where they are wanted", () => {
    const plain = programHelp({ paint, columns: 80 });
    const coloured = programHelp({ paint: createPaint(true), columns: 80 });
    assert.ok(!plain.includes("\u001b"));
    assert.ok(coloured.includes("\u001b[1mUsage\u001b[22m"));
    // oxlint-disable-next-line no-control-regex -- the escapes are what is looked for
    assert.equal(coloured.replaceAll(/\u001b\[\d+m/g, ""), plain);
  });
});
