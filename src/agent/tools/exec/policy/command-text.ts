import { forEachChild, parse } from "unbash";
import type { Command, Redirection, SyntaxNode, Word, WordPart } from "unbash";
import { dataOf, isHarmless, programOf, withoutDivisions } from "./programs.ts";

/** A command as bash reads it, its literal words without their quotes. */
export interface CommandTexts {
  /** For the deny patterns. Data, and arguments of programs that run nothing, are `_`. */
  readonly programs: string[];
  /** For the check of paths. Data is `_`. */
  readonly paths: string[];
  /** Words that stand for the name of a program and are known only when the command runs. */
  readonly unknownPrograms: string[];
}

/** What stands in the place of a literal. */
interface Shown {
  readonly program: string;
  readonly path: string;
}

type Edit = Shown & Pick<Word, "pos" | "end">;
type How = (value: string, written: string) => Shown;

const DATA: Shown = { program: "_", path: "_" };
/** Nested brackets and syntax nodes: the parser takes too long for more, and people write fewer. */
const MAX_NESTED = 64;
const MAX_DEPTH = 500;

/** Reads a command; undefined if the parser cannot read it or it is nested too deeply. */
export function readCommand(text: string): CommandTexts | undefined {
  const texts: CommandTexts = { programs: [], paths: [], unknownPrograms: [] };
  return readInto(texts, text) ? texts : undefined;
}

function readInto(texts: CommandTexts, text: string): boolean {
  if (nesting(text) > MAX_NESTED) return false;
  const script = parse(text);
  const edits = new Map<SyntaxNode, readonly Edit[]>();
  let isReadable = true;
  const walk = (node: SyntaxNode, isRead: boolean, depth: number): void => {
    isReadable &&= depth < MAX_DEPTH && !(node.type === "Script" && (node.errors?.length ?? 0) > 0);
    if (!isReadable) return;
    // Positions in backticks that hold escapes are those of another text.
    if (node.type === "Script" && node !== script && node.source !== undefined) {
      isReadable = readInto(texts, node.source);
      return;
    }
    for (const [word, shown] of editsOf(node, isRead, texts)) {
      if (!edits.has(word)) edits.set(word, shown);
    }
    const readByOthers = feeding(node);
    forEachChild(node, (child) => walk(child, isRead || readByOthers.has(child), depth + 1));
  };
  walk(script, false, 0);
  const all = [...edits.values()].flat().toSorted((left, right) => left.pos - right.pos);
  texts.programs.push(edited(text, all, "program"));
  texts.paths.push(edited(text, all, "path"));
  return isReadable;
}

/** How deep brackets stand in brackets, counted without regard to quotes. */
function nesting(text: string): number {
  let deepest = text.split("`").length / 2;
  for (const [opening, closing] of ["()", "{}"]) {
    let depth = 0;
    for (const character of text) {
      if (character === opening) depth += 1;
      else if (character === closing) depth = Math.max(0, depth - 1);
      deepest = Math.max(deepest, depth);
    }
  }
  return deepest;
}

/** The children of a node whose output may become a command, or names of files. */
function feeding(node: SyntaxNode): { has(child: SyntaxNode): boolean } {
  if (/^(?:CommandExpansion|ProcessSubstitution)$/.test(node.type)) return { has: () => true };
  const commands = node.type === "Pipeline" ? node.commands : [];
  const last = commands.findLastIndex((command) => !runsNothing(command));
  return new Set<SyntaxNode>(commands.slice(0, Math.max(0, last)));
}

function runsNothing(node: SyntaxNode): boolean {
  return node.type === "Command" && isHarmless(programOf(node.name?.value ?? "").name);
}

type Edits = Generator<[SyntaxNode, readonly Edit[]]>;

/** The edits of a node; a command makes those of its name and its arguments. */
function* editsOf(node: SyntaxNode, isRead: boolean, texts: CommandTexts): Edits {
  if (node.type === "Command") yield* commandEdits(node, isRead, texts);
  else if (node.type === "Word") yield [node, wordEdits(node, plainly)];
  else if (node.type === "HereDocBody" && node.parts === undefined) {
    yield [node, [{ ...plainly(withoutDivisions(node.text)), pos: node.pos, end: node.end }]];
  }
}

function* commandEdits(node: Command, isRead: boolean, texts: CommandTexts): Edits {
  if (node.name === undefined) return;
  const name = valueOf(node.name);
  if (name === undefined) texts.unknownPrograms.push(node.name.text);
  yield [node.name, wordEdits(node.name, (value) => ({ program: value, path: pathOf(value) }))];
  const args = node.args.filter((arg) => arg.type === "Word");
  const values = args.map((arg) => valueOf(arg) ?? arg.text);
  const program = programOf(name ?? "", values);
  const isHeard = program.isSpeaking && (isRead || node.redirects.some(isWritten));
  const isMasked = isHarmless(program.name) && !isHeard;
  const data = dataOf(program, values);
  for (const [index, arg] of args.entries()) {
    const visible = data.get(index);
    const how: How = (value, written) => {
      if (isMasked && program.isSpeaking) return DATA;
      if (visible !== undefined) return { program: visible(value), path: visible(value) };
      const shown = plainly(value, written);
      return isMasked && !value.includes("/dev/") ? { ...shown, program: "_" } : shown;
    };
    yield [arg, wordEdits(arg, how)];
  }
}

/** Whether output goes into a file, which may be run later. */
function isWritten(redirect: Redirection): boolean {
  if (redirect.type !== "Redirect" || !redirect.operator.includes(">")) return false;
  return !/^(?:\d+|-|\/dev\/.*)$/.test(redirect.target?.value ?? "");
}

/** The folders of programs are absolute paths that every command may name. */
function pathOf(program: string): string {
  return program.replace(/^(?:\/usr)?(?:\/local)?\/s?bin\/(?=[^/]+$)/, "");
}

/** A backslash that bash takes away can be a part of a path elsewhere. */
function plainly(value: string, written = ""): Shown {
  return { program: value, path: written.includes("\\") ? `${value} ${written}` : value };
}

/** One edit if the whole word is literal, otherwise one for each literal part. */
function wordEdits(word: Word, how: How): readonly Edit[] {
  const { pos, end, text, parts = [] } = word;
  const value = valueOf(word);
  if (value !== undefined) return [{ pos, end, ...how(value, text) }];
  return parts.flatMap((part) => partEdits(part, how));
}

function partEdits(part: WordPart, how: How): readonly Edit[] {
  if (part.type === "DoubleQuoted" || part.type === "LocaleString") {
    return part.parts.flatMap((child) => partEdits(child, how));
  }
  const value = partValue(part);
  return value === undefined ? [] : [{ pos: part.pos, end: part.end, ...how(value, part.text) }];
}

/** The value of a literal word; undefined if it holds an expansion. */
function valueOf({ parts, value }: Word): string | undefined {
  return parts === undefined ? value : joined(parts);
}

function joined(parts: readonly WordPart[]): string | undefined {
  const values = parts.map(partValue);
  return values.includes(undefined) ? undefined : values.join("");
}

function partValue(part: WordPart): string | undefined {
  const { type, text } = part;
  if (type === "Literal" || type === "SingleQuoted" || type === "AnsiCQuoted") return part.value;
  if (type === "DoubleQuoted" || type === "LocaleString") return joined(part.parts);
  return type === "BraceExpansion" && !/[$`]/.test(text) ? text.replace(/[{},]/g, " ") : undefined;
}

function edited(text: string, edits: readonly Edit[], what: keyof Shown): string {
  const pieces: string[] = [];
  let at = 0;
  for (const edit of edits) {
    if (edit.pos < at) continue;
    pieces.push(text.slice(at, edit.pos), edit[what]);
    at = edit.end;
  }
  return [...pieces, text.slice(at)].join("");
}
