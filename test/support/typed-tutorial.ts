import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Running } from "./picoclaw.ts";
import { patternOf } from "./tutorial.ts";
import { until } from "./until.ts";

const root = join(import.meta.dirname, "../..");

/** The prompt of the terminals that `typeAll` types in: no line of a page has it. */
export const PROMPT = "@@";
/** In a page, after what is typed at a question. */
const ENTER = "⏎";
const CONTROL_C = "^C";

/** What a page shows to be typed in one of its terminals, and what it says that this prints. */
export interface ToType {
  readonly terminal: "first" | "second";
  readonly command: string;
  /** The command, and what it prints. */
  readonly shown: string;
  /** Keys, with Enter. */
  readonly keys: number;
}

/** The `console` blocks of a page: commands after "$ ", and `^C`. Those of `console second` are for another terminal. */
export async function typedIn(document: string): Promise<ToType[]> {
  const text = await readFile(join(root, "docs/tutorials", document), "utf8");
  return [...text.matchAll(/^```console( second)?\n(.*?)^```$/gms)].flatMap(
    ([, second, block = ""]) =>
      block
        .split(/^(?=\$ |\^C)/m)
        .map((part) => toType(part, second === undefined ? "first" : "second")),
  );
}

function toType(part: string, terminal: ToType["terminal"]): ToType {
  if (part.startsWith(CONTROL_C)) return { terminal, command: CONTROL_C, shown: part, keys: 1 };
  const shown = part.slice("$ ".length);
  const command = shown.slice(0, shown.indexOf("\n"));
  const replies = questionsIn(shown).reduce((keys, { reply }) => keys + reply.length + 1, 0);
  return { terminal, command, shown, keys: command.length + 1 + replies };
}

interface Question {
  /** What is on the screen when it is asked. */
  readonly upTo: string;
  readonly reply: string;
}

function questionsIn(shown: string): Question[] {
  return [...shown.matchAll(/^(.*\] )(.*)⏎$/gm)].map((match) => ({
    upTo: withoutEnters(shown.slice(0, match.index) + match[1]),
    reply: match[2] ?? "",
  }));
}

function withoutEnters(shown: string): string {
  return shown.replaceAll(ENTER, "");
}

export interface TypeOptions {
  readonly terminals: Readonly<Record<ToType["terminal"], Running>>;
  /** Text of the commands that is another one here; in what they print it is turned back. */
  readonly replaced: readonly (readonly [from: string, to: string])[];
}

/** Types everything, and compares what the terminals show. */
export async function typeAll(all: readonly ToType[], options: TypeOptions): Promise<void> {
  for (const [index, one] of all.entries()) {
    const next = all.slice(index + 1).find(({ terminal }) => terminal === one.terminal);
    // What only Ctrl-C ends stays in its terminal.
    await typeOne(one, next?.command !== CONTROL_C, options);
  }
}

async function typeOne(
  { terminal: name, command, shown }: ToType,
  isOver: boolean,
  { terminals, replaced }: TypeOptions,
): Promise<void> {
  const terminal = terminals[name];
  const from = terminal.stdout().length;
  const screen = (): string => {
    const raw = terminal.stdout().slice(from).replaceAll("\r", "");
    return replaced.reduce((text, [word, here]) => text.replaceAll(here, word), raw);
  };
  const text = (): string => screen().replaceAll(PROMPT, "");
  const shows = async (what: string, isEnd: boolean): Promise<void> => {
    const pattern = patternOf(what);
    const holds = (): boolean => pattern.test(text()) && (!isEnd || screen().includes(PROMPT));
    await until(command, holds).catch(() => {});
    assert.match(text(), pattern, command);
    assert.ok(holds(), `${command} does not end`);
  };
  if (command === CONTROL_C) terminal.type("\u0003");
  else {
    const line = replaced.reduce((all, [word, here]) => all.replaceAll(word, here), command);
    terminal.type(`${line}\r`);
  }
  for (const { upTo, reply } of questionsIn(shown)) {
    await shows(upTo, false);
    terminal.type(`${reply}\r`);
  }
  await shows(withoutEnters(shown), isOver);
}
