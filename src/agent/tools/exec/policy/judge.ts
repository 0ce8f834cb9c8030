import { dataOf } from "./data.ts";
import type { Field } from "./field.ts";
import type { Call, Judging } from "./findings.ts";
import { interpreterOf, UNKNOWN } from "./interpreters.ts";
import { refusalOfArguments, refusalOfLines, unknownOption } from "./options.ts";
import {
  areNames,
  baseName,
  HARMLESS,
  isListener,
  refusalOfProgram,
  SPEAKING,
} from "./programs.ts";
import type { ShellKind } from "./sh.ts";
import { judgeAssignment, judgePath } from "./words.ts";
import { innerOf } from "./wrappers.ts";
import type { Inner } from "./wrappers.ts";

/** Programs that run programs that run programs. */
const MOST_AROUND = 12;

/** Judges a program by one of the names it may have, in whatever folder. */
export function judgeNamed(name: Field, call: Omit<Call, "name">, judging: Judging): void {
  const { findings } = judging;
  const { depth } = call;
  if (depth > MOST_AROUND) {
    findings.refusals.push("programs that run programs, too many to follow");
    return;
  }
  if (name.isPattern) findings.refusals.push("a pattern stands for the name of a program");
  if (!name.isKnown) {
    findings.unknownPrograms.push(
      `${name.word.text} stands for the name of a program; write it out`,
    );
    const [next, ...args] = call.args;
    // Where it is nothing, the next word is the name.
    if (next !== undefined && name.text === "")
      judgeNamed(next, { ...call, args, depth: depth + 1 }, judging);
    return;
  }
  const program = baseName(name.text);
  if (/^(?:\/usr)?(?:\/local)?\/s?bin\/[^/]+$/.test(name.text)) judging.mask(name, program);
  else judgePath(name, judging);
  judgeCall({ ...call, name: program }, judging);
}

function judgeCall(call: Call, judging: Judging): void {
  const { name, args } = call;
  const { refusals } = judging.findings;
  const refusal =
    refusalOfProgram(name) ??
    refusalOfArguments(name, args) ??
    refusalOfLines(name, linesFor(call));
  if (refusal !== undefined) refusals.push(`${name}: ${refusal}`);
  const unknown = unknownOption(name, args);
  if (unknown !== undefined) {
    refusals.push(`${name}: what ${unknown.word.text} becomes is not known; write it out`);
  }
  const inner = innerOf(name, args);
  const interpreter = interpreterOf(name);
  if (inner !== undefined) judgeInner(call, inner, judging);
  else if (interpreter !== undefined) interpreter(call, judging);
  else judgeWords(call, judging);
}

/** What it reads, as far as that is written here. */
function linesFor({ input, before }: Call): readonly string[] {
  if (typeof input === "object") return input.text.split("\n");
  if (input !== "pipe") return [];
  return before
    .flatMap((one) => (one.type === "Command" ? one.args : []))
    .map(({ text }) => text.replace(/^["']/, ""));
}

function judgeInner(call: Call, inner: Inner, judging: Judging): void {
  const { name, args, depth } = call;
  const { calls, scripts, assignments, isUnknown } = inner;
  const isHidden = isUnknown || scripts.some(({ isKnown }) => !isKnown);
  if (isHidden) judging.findings.refusals.push(`${name}: ${UNKNOWN}`);
  for (const field of assignments) {
    const [variable = ""] = field.text.split("=");
    const value = { ...field, text: field.text.slice(variable.length + 1) };
    judgeAssignment(variable, [value], judging);
  }
  for (const { text } of scripts) judging.script(text, shellAround(name));
  for (const [first, ...rest] of calls) {
    if (first === undefined) continue;
    const isFed = name === "xargs";
    const all = isFed ? [...rest, appendedTo(call, first)] : rest;
    const input = isFed ? "nothing" : call.input;
    judgeNamed(first, { ...call, input, args: all, depth: depth + 1 }, judging);
  }
  // What is called judges its own words.
  const judged = new Set([...calls.flat(), ...scripts]);
  for (const field of args) if (!judged.has(field)) judgePath(field, judging);
}

/** A trap is the shell's own; what others hand to a shell the system's `sh` reads. */
function shellAround(name: string): ShellKind {
  return name === "trap" ? "bash" : "sh";
}

/** What xargs gives its program: names that were shown, or anything. */
function appendedTo({ before, input }: Call, { word }: Field): Field {
  const lead = input === "pipe" && areNames(before) ? "x" : "";
  return {
    text: lead,
    lead,
    isKnown: false,
    isPattern: false,
    isProcess: false,
    isFirst: true,
    word,
  };
}

/** The words of any other program: paths, or data. */
function judgeWords(call: Call, judging: Judging): void {
  const { name, args, after, isProtected } = call;
  const data = dataOf(name, args);
  const speaks = SPEAKING.has(name);
  const isSaid = speaks && !isProtected && after.every(isListener);
  const isHarmless = HARMLESS.has(name) && !speaks;
  if (!HARMLESS.has(name)) judgeExpanded(args, judging);
  if (/^(?:cd|pushd|chdir)$/.test(name)) judgeFolder(args, judging);
  for (const field of args) {
    const isData = isSaid || data.has(field);
    if (isData || isHarmless) judging.mask(field, "_");
    if (!isData || field.isPattern) judgePath(field, judging);
  }
}

/** A program that nobody knows may be one that runs what its words become. */
function judgeExpanded(args: readonly Field[], { findings }: Judging): void {
  const isWritten = args.every(({ text, word }) => word.text.includes(text));
  if (!isWritten) findings.texts.push(args.map(({ text }) => text).join(" "));
}

/** Where `cd` goes: home without a word. */
function judgeFolder(args: readonly Field[], { findings }: Judging): void {
  const text = args.find((field) => !/^-[LPe]+$/.test(field.text))?.text ?? "";
  findings.paths.push(text === "" || text === "-" ? "~" : `${text}/.`);
}
