import { forEachChild, parse } from "unbash";
import type { Command, Redirection, Script, SyntaxNode, Word, WordPart } from "unbash";

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
  const script = parsed(text);
  if (script === undefined) return false;
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

/** Undefined for what exhausts the stack of the parser, which descends into each `f()` of a row. */
function parsed(text: string): Script | undefined {
  try {
    return parse(text);
  } catch (cause) {
    if (cause instanceof RangeError) return undefined;
    throw cause;
  }
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
  return node.type === "Command" && HARMLESS.has(programOf(node.name?.value ?? "").name);
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
  const isSpeaking = SPEAKING.has(program.name);
  const isHeard = isSpeaking && (isRead || node.redirects.some(isWritten));
  const isMasked = HARMLESS.has(program.name) && !isHeard;
  const data = dataOf(program, values);
  for (const [index, arg] of args.entries()) {
    const visible = data.get(index);
    const how: How = (value, written) => {
      if (isMasked && isSpeaking) return DATA;
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

const set = (words: string): ReadonlySet<string> => new Set(words.trim().split(/\s+/));

/** Programs that read, count, copy or print what their arguments name, and run none of it. */
const HARMLESS = set(`
  echo printf grep egrep fgrep rg ag ls dir cat tac nl head tail wc sort uniq cut paste join tr test [ date cal
  df du ps pgrep pidof file stat basename dirname realpath readlink which type whereis man whatis apropos help jq yq
  seq expr bc true false : sleep pwd whoami id hostname uname uptime free diff cmp comm md5sum cksum
  sha1sum sha256sum sha512sum base64 xxd od hexdump strings mkdir touch cp mv ln curl wget tee column fold
  fmt rev factor lscpu lsblk lsusb nproc arch groups tty tput clear history dig nslookup host ping sed
  traceroute netstat ss journalctl vmstat iostat exit return break continue shift cd pushd popd
`);
/** Those whose arguments are text for a reader. */
const SPEAKING = set(
  "echo printf test [ expr seq true false : sleep exit return break continue shift tr",
);
/** Programs that run the one that their arguments name. */
const WRAPPERS = set(
  "timeout nice ionice nohup setsid stdbuf env xargs command builtin exec time busybox",
);
const LANGUAGES = /^(?:python|pypy|perl|ruby|node|bun|deno|php|lua|r|rscript|octave|julia)[\d.]*$/;

interface Program {
  /** Without its folder, in small letters. */
  readonly name: string;
  /** The index of its first argument among those of the whole command. */
  readonly from: number;
}

/** The program that a command runs, also behind wrappers such as `timeout 5`. */
function programOf(written: string, args: readonly string[] = [], from = 0): Program {
  const name = written.slice(written.lastIndexOf("/") + 1).toLowerCase();
  const isOwn = /^-|^[\d.]+[smhd]?$|^\w+=/;
  const at = args.findIndex((arg, index) => index >= from && !isOwn.test(arg));
  if (WRAPPERS.has(name) && at >= 0) return programOf(args[at] ?? "", args, at + 1);
  return { name, from };
}

/** The arguments that are no plain paths: by their index, what of them is looked at. */
function dataOf(
  { name, from }: Program,
  args: readonly string[],
): ReadonlyMap<number, (value: string) => string> {
  const all = args.map((_, index) => index).filter((index) => index >= from);
  const are = (pattern: RegExp): number[] => all.filter((index) => pattern.test(args[index] ?? ""));
  if (/^(?:[ef]?grep|rg|ag)$/.test(name)) return chosen(firstOperand(args, all));
  if (/^(?:[gmn]?awk|g?sed|jq|yq)$/.test(name)) {
    return new Map([...chosen(firstOperand(args, all), quotedStrings), ...chosen(are(/^-F.$/))]);
  }
  if (LANGUAGES.test(name)) return chosen(all, withoutDivisions);
  if (name === "git") {
    const given = are(/^(?:-[a-zA-Z]*m|--message|--grep|--author)$/).map((index) => index + 1);
    return chosen([...given, ...are(/^--(?:message|grep|author|format|pretty|date)=/)]);
  }
  // df reads nothing in the folders that it is given.
  if (name === "df") return chosen(are(/^(?:\/[\w-]+)*\/?$/));
  return chosen(/^(?:cut|sort)$/.test(name) ? are(/^-[dt].$/) : []);
}

function chosen(indexes: readonly number[], looked: (value: string) => string = () => "_") {
  return new Map(indexes.map((index) => [index, looked] as const));
}

/** The pattern or the code of a call: after `-e`, else the first operand, unless a file holds it. */
function firstOperand(args: readonly string[], all: readonly number[]): readonly number[] {
  if (all.some((index) => /^-[a-zA-Z]*f|^--(?:from-)?file/.test(args[index] ?? ""))) return [];
  const given = all.filter(
    (index) =>
      /^-[a-zA-Z]*e$/.test(args[index - 1] ?? "") ||
      /^(?:-[a-zA-Z]*e.|--(?:expression|regexp)=)/.test(args[index] ?? ""),
  );
  const isOperand = (index: number): boolean =>
    !/^-./.test(args[index] ?? "") && !/^-[Fv]$/.test(args[index - 1] ?? "");
  return given.length > 0 ? given : all.filter(isOperand).slice(0, 1);
}

/** A filter names files only in quotes. */
function quotedStrings(code: string): string {
  const strings = [...code.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = ""]) => text);
  return strings.filter((text) => text !== "/").join(" ") || "_";
}

/** In code a slash between blanks is no path. */
function withoutDivisions(code: string): string {
  return code.replace(/(?<=[\w)\]]\s)\/{1,2}(?=\s[\w(])/g, "_");
}
