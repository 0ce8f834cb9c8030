import type { Field } from "./field.ts";

/** What a shell or another language runs. */
export interface Program {
  /** The program's text, given as a word. */
  readonly code?: Field;
  /** What it is given to work on, or the file that it runs. */
  readonly operands: readonly Field[];
  /** It runs what it reads. */
  readonly readsInput: boolean;
}

const SHELL = /^(?:ba|da|z|k|mk|pdk|fi|tc|c|a|r|rba|ya|po)?sh$/;
const CODE_OPTIONS: readonly (readonly [RegExp, RegExp])[] = [
  [/^python[\d.]*$|^pypy[\d.]*$/, /^-[A-Za-z]*c/],
  [/^perl[\d.]*$/, /^-(?![MmIV])[A-Za-z0-9.]*[eE]/],
  [/^i?ruby[\d.]*$/, /^-(?!r)[a-z]*e/],
  [/^(?:node|nodejs)$/, /^(?:-(?!r)[a-z]*[ep]|--eval|--print)/],
  [/^bun$/, /^(?:-[ep]|--eval|--print)/],
  [/^deno$/, /^eval$/],
  [/^php[\d.]*$/, /^-[rRBE]/],
  [/^lua[\d.]*$|^luajit$/, /^-e/],
  [
    /^(?:r|rscript|julia|octave|gnuplot|maxima|elixir|tclsh|osascript|guile|racket|sbcl|ghc|scala|groovy)$/,
    /^(?:-[eE]|--eval|--batch-string|--execute)/,
  ],
];

export function isShell(name: string): boolean {
  return SHELL.test(name);
}

/** The option that is followed by code, in one of the languages; undefined where it is no language. */
export function codeOption(name: string): RegExp | undefined {
  return CODE_OPTIONS.find(([names]) => names.test(name))?.[1];
}

/** How a shell or a language was called. */
export function programOf(name: string, args: readonly Field[]): Program {
  const option = isShell(name) ? /^[-+][a-zA-Z]*c/ : codeOption(name);
  const at = args.findIndex(({ text }) => option?.test(text));
  if (at >= 0) return givenProgram(name, args, at);
  const isModule = name.startsWith("py") && args.some(({ text }) => text.startsWith("-m"));
  const operands = args.filter(({ text }) => !/^[-+]./.test(text));
  const isInput = operands.length === 0 || operands[0]?.text === "-" || args[0]?.text === "-s";
  return { operands, readsInput: isInput && !isModule && !isAsking(args) };
}

function givenProgram(name: string, args: readonly Field[], at: number): Program {
  const found = args[at];
  const glued = found === undefined || isShell(name) ? "" : gluedCode(found.text);
  const rest = args.slice(at + 1).filter(({ text }) => !isShell(name) || !/^[-+]\w/.test(text));
  const all = found === undefined || glued === "" ? rest : [{ ...found, text: glued }, ...rest];
  const [code, ...operands] = all;
  return code === undefined
    ? { operands, readsInput: true }
    : { code, operands, readsInput: false };
}

/** `--version` and its like. */
function isAsking(args: readonly Field[]): boolean {
  return args.length > 0 && args.every(({ text }) => /^(?:-[vVh]|--?version|--help)$/.test(text));
}

function gluedCode(text: string): string {
  const [, long] = /^--[a-z]+=(.*)$/s.exec(text) ?? [];
  if (long !== undefined) return long;
  const [, short = ""] = /^-[A-Za-z0-9.]*?[cerRBE](.*)$/s.exec(text) ?? [];
  // More letters are more options: `-pe`.
  return /^[A-Za-z]{0,3}$/.test(short) ? "" : short;
}
