import { awkRuns, codeRuns, sedRuns, stringsIn } from "./code.ts";
import type { Field } from "./field.ts";
import type { Call, Input, Judging, Reading } from "./findings.ts";
import { codeOption, isShell, programOf } from "./languages.ts";
import type { ShellKind } from "./sh.ts";
import { judgePath } from "./words.ts";

/** What is said of a text that a program would run and nobody can know. */
export const UNKNOWN = "what it runs is not known; write it out";

/** How shells and languages are judged; undefined for what is none. */
export function interpreterOf(name: string): ((call: Call, judging: Judging) => void) | undefined {
  if (isShell(name)) return judgeShell;
  if (codeOption(name) !== undefined) return judgeLanguage;
  if (/^(?:[gmn]|original-)?awk$/.test(name)) return judgeAwk;
  return /^g?sed$/.test(name) ? judgeSed : undefined;
}

function judgeShell(call: Call, judging: Judging): void {
  const { name, args, input } = call;
  const { refusals } = judging.findings;
  const { code, operands, readsInput } = programOf(name, args);
  if (code !== undefined) {
    if (!code.isKnown) refusals.push(`${name}: ${UNKNOWN}`);
    else if (code.text.includes("{}"))
      refusals.push(`${name}: {} becomes a part of what it runs; hand it on as "$1"`);
    else judging.script(code.text, kindOf(name));
    judging.mask(code, "_");
    const [first, ...rest] = operands.slice(1);
    if (first !== undefined && /\$[@*1-9{]/.test(code.text)) {
      judging.named(first, { ...call, args: rest, depth: call.depth + 1 });
    } else for (const field of operands) judgePath(field, judging);
    return;
  }
  if (args.some(({ text }) => /^--(?:init-)?command|^-[a-z]*C/.test(text))) {
    refusals.push(`${name}: ${UNKNOWN}`);
  }
  for (const field of args) judgePath(field, judging);
  judgeFile(name, operands[0], judging);
  if (readsInput) judgeInput(name, input, judging, (text) => judging.script(text, kindOf(name)));
}

/** Other shells read as `sh` does what is POSIX, and little else alike. */
function kindOf(name: string): ShellKind {
  return name === "bash" ? "bash" : "sh";
}

/** A file that is run: not one that only now gets its text. */
function judgeFile(name: string, file: Field | undefined, { findings }: Judging): void {
  if (file === undefined) return;
  const isMade = file.isProcess || /^\/(?:dev|proc)\//.test(file.text);
  if (isMade || (!file.isKnown && file.lead === "")) {
    findings.refusals.push(`${name}: ${UNKNOWN}`);
  }
}

function judgeInput(
  name: string,
  input: Input,
  { findings }: Judging,
  judgeText: (text: string) => void,
): void {
  if (typeof input === "object") judgeText(input.text);
  else if (input !== "nothing") findings.refusals.push(`${name}: it runs what it reads`);
}

/** Modules of python that run their arguments. */
const CODE_MODULES = /^(?:timeit|profile|cProfile|trace|pdb)$/;

function judgeLanguage(call: Call, judging: Judging): void {
  const { name, args, input } = call;
  const { refusals } = judging.findings;
  const { code, operands, readsInput } = programOf(name, args);
  const judgeText = (text: string): void => {
    if (codeRuns(text)) {
      refusals.push(`${name}: its text starts programs, deletes, or hides what it does`);
    }
  };
  // One option of code may follow another.
  if (code !== undefined) judgeText([code, ...operands].map(({ text }) => text).join("\n"));
  else {
    judgeFile(name, operands[0], judging);
    if (readsInput) judgeInput(name, input, judging, judgeText);
    if (readsInput && typeof input === "object") maskRead(input, judging);
  }
  if (code?.isKnown === false) refusals.push(`${name}: ${UNKNOWN}`);
  else if (code !== undefined) judging.mask(code, withoutDivisions(code.text));
  judgeModule(call, judging, judgeText);
  for (const field of args) {
    const isCode = field.word === code?.word;
    judgePath(isCode ? { ...field, text: withoutDivisions(field.text) } : field, judging);
  }
}

/** `python -m`: a program as others are, or one that runs its arguments. */
function judgeModule(call: Call, judging: Judging, judgeText: (text: string) => void): void {
  const at = call.args.findIndex(({ text }) => text === "-m");
  const [first, ...args] = at < 0 ? [] : call.args.slice(at + 1);
  if (first === undefined) return;
  if (/^(?:code|asyncio)$/.test(first.text)) {
    judging.findings.refusals.push(`${call.name}: it runs what it reads`);
  }
  if (CODE_MODULES.test(first.text)) judgeText(args.map(({ text }) => text).join("\n"));
  judging.named(first, { ...call, args, depth: call.depth + 1 });
}

function maskRead({ text, word }: Reading, judging: Judging): void {
  if (word !== undefined) judging.mask({ word }, withoutDivisions(text));
}

/** In code a slash between blanks is no path. */
function withoutDivisions(code: string): string {
  return code.replace(/(?<=[\w)\]]\s)\/{1,2}(?=\s[\w(])/g, "_");
}

function judgeAwk({ name, args }: Call, judging: Judging): void {
  const isFromFile = args.some(({ text }) => /^(?:-f|--file|-E|--exec|-i|--include)/.test(text));
  const at = args.findIndex(
    ({ text }, index) => !text.startsWith("-") && !/^-[Fv]$/.test(args[index - 1]?.text ?? ""),
  );
  const program = isFromFile ? undefined : args[at];
  if (program?.isKnown === false) {
    judging.findings.unknownPrograms.push(
      `${name}: ${program.word.text} is not known; write it out`,
    );
  }
  if (args.some(({ text }) => awkRuns(text))) {
    judging.findings.refusals.push(`${name}: its text starts programs or reads files`);
  }
  for (const field of args) {
    const isSeparator = /^-F.$/.test(field.text);
    if (isSeparator) judging.mask(field, "_");
    else if (field !== program) judgePath(field, judging);
    else {
      const mayOpen = /ARGV|>/.test(field.text);
      const strings = stringsIn(field.text).filter((text) => mayOpen || text !== "/");
      judging.findings.paths.push(...strings);
      judging.mask(field, "_");
    }
  }
}

/** `-e` and its script in one word. */
const GLUED_SCRIPT = /^(?:-[a-zA-Z]*e(?=.)|--e[a-z]*=)/;

/** `-f -`, and the kernel's names for what is read. */
function readsScript(args: readonly Field[]): boolean {
  return args.some(
    ({ text }, index) =>
      /^(?:-|\/dev\/.*)$/.test(text) &&
      /^(?:-[a-zA-Z]*f|--f[a-z]*)$/.test(args[index - 1]?.text ?? ""),
  );
}

function judgeSed({ name, args }: Call, judging: Judging): void {
  const scripts = args.filter(
    ({ text }, index) =>
      /^(?:-[a-zA-Z]*e|--e[a-z]*)$/.test(args[index - 1]?.text ?? "") || GLUED_SCRIPT.test(text),
  );
  const isGiven = args.some(({ text }) => /^(?:-[a-zA-Z]*[ef]|--[ef])/.test(text));
  const first = args.find(
    ({ text }, index) =>
      !text.startsWith("-") && !/^(?:-[a-zA-Z]*l|--l[a-z-]*)$/.test(args[index - 1]?.text ?? ""),
  );
  if (!isGiven && first !== undefined) scripts.push(first);
  if (
    args.some(({ text }) => /^(?:-[a-zA-Z]*f|--f[a-z]*=)(?:-|\/dev\/)/.test(text)) ||
    readsScript(args)
  ) {
    judging.findings.refusals.push(`${name}: ${UNKNOWN}`);
  }
  for (const field of args) {
    if (!scripts.includes(field)) judgePath(field, judging);
    else {
      judging.mask(field, "_");
      if (sedRuns(field.text.replace(GLUED_SCRIPT, ""))) {
        judging.findings.refusals.push(`${name}: its script runs programs or writes files`);
      }
      if (!field.isKnown) {
        judging.findings.unknownPrograms.push(
          `${name}: ${field.word.text} is not known; write it out`,
        );
      }
    }
  }
}
