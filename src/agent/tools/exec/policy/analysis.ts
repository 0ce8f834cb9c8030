import { parse } from "unbash";
import type { Assignment, Command, Redirection, Script, SyntaxNode } from "unbash";
import { fieldsOf } from "./field.ts";
import type { Expander } from "./field.ts";
import type { Findings, Judging, Span } from "./findings.ts";
import { judgeNamed } from "./judge.ts";
import { descend, inputOf, keepsOutput, outputOf, TOP } from "./place.ts";
import type { Place } from "./place.ts";
import { scopeOf } from "./scope.ts";
import { unlikeSh } from "./sh.ts";
import type { ShellKind } from "./sh.ts";
import { judgeAssignment, judgePath, judgeTarget } from "./words.ts";

/** Shells in shells. */
const DEEPEST = 6;
/** Brackets in brackets: what the parser takes more than a moment for, nobody writes. */
const MOST_NESTED = 64;

/** Takes a command apart; undefined where the parser cannot read it, or it is nested too deeply. */
export function findingsOf(
  text: string,
  cwd: string,
  shell: ShellKind = "bash",
): Findings | undefined {
  const findings: Findings = {
    refusals: [],
    unknownPrograms: [],
    unknownPaths: [],
    texts: [],
    paths: [],
  };
  return analyzed(text, { findings, cwd, depth: 0, shell }) ? findings : undefined;
}

interface Analysis {
  readonly findings: Findings;
  readonly cwd: string;
  readonly depth: number;
  readonly shell: ShellKind;
}

interface Mask {
  readonly field: { readonly word: Span };
  readonly shown: string;
}

function analyzed(text: string, analysis: Analysis): boolean {
  if (analysis.depth > DEEPEST || nesting(text) > MOST_NESTED) return false;
  const script = parse(text);
  if (script.errors !== undefined && script.errors.length > 0) return false;
  if (analysis.shell === "sh") {
    const other = unlikeSh(script);
    if (other !== undefined) {
      analysis.findings.refusals.push(`${other} is read otherwise by sh; write it as sh has it`);
    }
  }
  const masks: Mask[] = [];
  createWalk(script, analysis, masks)(script, TOP);
  analysis.findings.texts.push(masked(text, masks));
  return true;
}

/** How deep brackets stand in brackets, counted without regard to quotes. */
function nesting(text: string): number {
  let depth = 0;
  let deepest = 0;
  let ticks = 0;
  for (const character of text) {
    if (character === "(" || character === "{") depth += 1;
    if ((character === ")" || character === "}") && depth > 0) depth -= 1;
    if (character === "`") ticks += 1;
    deepest = Math.max(deepest, depth);
  }
  return Math.max(deepest, ticks / 2);
}

function masked(text: string, masks: readonly Mask[]): string {
  const pieces: string[] = [];
  let at = 0;
  const sorted = masks.toSorted((left, right) => left.field.word.pos - right.field.word.pos);
  for (const { field, shown } of sorted) {
    if (field.word.pos < at) continue;
    pieces.push(text.slice(at, field.word.pos), shown);
    at = field.word.end;
  }
  return [...pieces, text.slice(at)].join("");
}

type Walk = (node: SyntaxNode, place: Place) => void;

function createWalk(root: Script, analysis: Analysis, masks: Mask[]): Walk {
  const { findings, cwd, depth } = analysis;
  const scope = scopeOf(root, cwd, depth > 0);
  const expander: Expander = {
    variable: (name, at) => scope.values(name, at, expander),
    output: ({ script }) => outputOf(script, cwd),
  };
  const judgingAt = (place: Place): Judging => {
    const judging: Judging = {
      findings,
      named: (field, call) => judgeNamed(field, call, judging),
      script(text, shell) {
        if (analyzed(text, { findings, cwd, depth: depth + 1, shell })) return;
        findings.refusals.push("a text in it that a shell would run cannot be read");
      },
      mask: (field, shown) => void (place.isInPlace && masks.push({ field, shown })),
    };
    return judging;
  };
  const walk: Walk = (node, place) => {
    if (node.type === "Script" && (node.errors?.length ?? 0) > 0) {
      findings.refusals.push("a part of it cannot be read");
    }
    if (node.type === "Command") judgeCommand(node, place, { expander, judging: judgingAt(place) });
    if (node.type === "For" || node.type === "Select") {
      judgeAssignment(node.name.value, [], judgingAt(place));
    }
    if (node.type === "Redirected")
      redirected(node.redirects, { expander, judging: judgingAt(place) });
    descend(node, place, walk);
  };
  return walk;
}

interface Tools {
  readonly expander: Expander;
  readonly judging: Judging;
}

function judgeCommand(node: Command, place: Place, tools: Tools): void {
  const { expander, judging } = tools;
  const { name, prefix, args, redirects } = node;
  for (const one of [...prefix, ...args]) {
    if (one.type === "Assignment") assigned(one, node, tools);
  }
  redirected(redirects, tools);
  if (name === undefined) return;
  judgeSetter(node, judging);
  const names = fieldsOf(name, expander);
  const others = args.flatMap((arg) => (arg.type === "Word" ? fieldsOf(arg, expander) : []));
  const fields = [...names, ...others];
  const { before, after, functions, isBeside } = place;
  const where = {
    before,
    after,
    input: inputOf(redirects, place.input, expander),
    isProtected: place.isProtected || keepsOutput(redirects),
  };
  // Each text that the name may be is judged; where it is nothing, the next word is the name.
  const candidates = names.length === 0 ? fields.slice(0, 1) : names.filter((one) => one.isFirst);
  for (const field of candidates) {
    if (isBeside && functions.includes(field.text)) {
      judging.findings.refusals.push("a function that starts itself again and again");
    }
    const rest = fields.slice(fields.indexOf(field) + 1);
    judgeNamed(field, { ...where, args: rest, depth: 0 }, judging);
  }
}

/** Commands that set the variables that they name. */
const SETTERS = /^(?:read|mapfile|readarray|getopts)$/;

/** What is set without an equals sign; and what all that follows reads. */
function judgeSetter({ name, args, redirects }: Command, judging: Judging): void {
  if (SETTERS.test(name?.value ?? "")) {
    for (const { text } of args) if (/^\w+$/.test(text)) judgeAssignment(text, [], judging);
  }
  const isInput = inputOf(redirects, "nothing") !== "nothing";
  if (name?.value === "exec" && args.length === 0 && isInput) {
    judging.findings.refusals.push("exec: what follows would read what is not followed");
  }
}

function redirected(redirects: readonly Redirection[], { expander, judging }: Tools): void {
  for (const redirect of redirects) {
    if (redirect.type !== "Redirect" || redirect.target === undefined) continue;
    for (const field of fieldsOf(redirect.target, expander)) judgeTarget(field, judging);
  }
}

function assigned(one: Assignment, { name }: Command, { expander, judging }: Tools): void {
  const { value } = one;
  const reads = name?.value === "read" || name?.value === "mapfile" || name?.value === "readarray";
  if (one.name === "IFS" && reads) return;
  const words = value.type === "Word" ? [value] : value.elements;
  const fields = words.flatMap((word) => fieldsOf(word, expander));
  judgeAssignment(one.name, fields, judging);
  for (const field of fields) if (field.isKnown) judgePath(field, judging);
}
