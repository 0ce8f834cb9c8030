import assert from "node:assert/strict";
import { COMMANDS, namesOf } from "../../../src/cli/args/commands.ts";
import { flagNames } from "../../../src/cli/args/flags.ts";
import type { Flags } from "../../../src/cli/args/flags.ts";
import { parseCommandLine } from "../../../src/cli/args/parse.ts";
import { formatDuration, parseDuration } from "../../../src/cli/duration.ts";
import { textOf } from "../target.ts";
import type { Target } from "../target.ts";

/** One argument a line. */
function run(input: Uint8Array): string {
  const args = textOf(input).split("\n");
  const line = parseCommandLine(args);
  const dashes = args.indexOf("--");
  const after = dashes === -1 ? [] : args.slice(dashes + 1);
  if (line.command !== undefined) {
    assert.deepEqual(
      line.words.slice(line.words.length - after.length),
      after,
      "what follows -- was changed",
    );
  }
  for (const word of line.words) assert.ok(args.includes(word), "a word that nobody wrote");
  const { failure } = line;
  if (failure === undefined) checkValues(args, line.flags);
  else assert.equal(failure.code, "usage");
  return failure === undefined ? `runs ${line.command?.name}` : plainKind(failure.message);
}

const KINDS =
  /unknown command|unknown flag|needs a value|is expected|does not take|needs <\w+>|takes no value|no command/;

/** Without what somebody wrote. */
function plainKind(message: string): string {
  const flag = flagNames().find((name) => message.startsWith(`--${name} `)) ?? "";
  return `${flag} ${KINDS.exec(message)?.[0] ?? "other"}`;
}

const TEXTS = [
  "broker",
  "agent",
  "user",
  "password-file",
  "channel",
  "id",
  "message",
  "file",
] as const;

/** What was understood is in the words, to the letter. */
function checkValues(args: readonly string[], { text }: Pick<Flags, "text">): void {
  for (const name of TEXTS) {
    const value = text(name);
    if (value === undefined) continue;
    assert.notEqual(value, "");
    const isWritten = args.some((word) => word.endsWith(value));
    assert.ok(isWritten, `--${name} has a value that nobody wrote`);
  }
}

export const LINE: Target = {
  name: "line",
  about: "a command line is understood to the letter, or is wrong usage with a reason",
  material: {
    most: 4096,
    lines: true,
    words: [
      ...COMMANDS.flatMap(namesOf),
      ...flagNames().map((name) => `--${name}`),
      ..."-- - -n -n5 -t= --json=yes --timeout=5s --count=007 -dv @0 @1 --@0 =\n\n--no-json".split(
        " ",
      ),
    ],
  },
  async open() {
    return { run };
  },
};

function runDuration(input: Uint8Array): string {
  const text = textOf(input);
  const parsed = parseDuration(text);
  if (parsed === undefined) return "none";
  assert.ok(Number.isInteger(parsed) && parsed >= 0 && parsed < 2 ** 31, `it is ${parsed} ms`);
  assert.match(text, /^[\d.hms]+$/);
  const again = parseDuration(formatDuration(parsed)) ?? Number.NaN;
  assert.ok(Math.abs(again - parsed) <= 50, `${parsed} ms are shown as ${formatDuration(parsed)}`);
  return formatDuration(parsed).replaceAll(/\d+/g, "#");
}

export const DURATION: Target = {
  name: "duration",
  about: "a time is whole milliseconds that a timer can hold, and is shown as what it is",
  material: { most: 40, words: "h m s ms . 1 0.5 1h30m 24d 596h31m23.647s".split(" ") },
  async open() {
    return { run: runDuration };
  },
};
