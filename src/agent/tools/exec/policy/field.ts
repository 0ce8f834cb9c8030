import type { Word, WordPart } from "unbash";
import { mayClimb } from "./paths.ts";

/** One of the texts that a word may be when the command runs. */
export interface Field {
  readonly text: string;
  /** Whether all of it is known; `text` lacks what is not. */
  readonly isKnown: boolean;
  /** The characters before the first that is not known. */
  readonly lead: string;
  /** It may become several words, or others: `*`, `{a,b}`. */
  readonly isPattern: boolean;
  /** It lets a program run and gives its output a name. */
  readonly isProcess: boolean;
  /** It is the first that its word becomes. */
  readonly isFirst: boolean;
  readonly word: Word;
}

/** What an expansion may become: these texts, some name without a slash, or anything. */
export type Values = readonly string[] | "name" | "anything";

/** Knows what stands for what. */
export interface Expander {
  variable(name: string, at: WordPart): Values;
  output(part: Extract<WordPart, { type: "CommandExpansion" }>): Values;
}

interface Draft {
  readonly text: string;
  readonly isKnown: boolean;
  readonly lead: string;
  readonly isPattern: boolean;
  readonly isProcess: boolean;
}

/** Texts that one word is followed to at most, and characters of each. */
const MOST = 8;
const LONGEST = 2000;
/** Stands between the fields of a word that the shell splits. */
const SPLIT = "\u0001";
const EMPTY: Draft = { text: "", isKnown: true, lead: "", isPattern: false, isProcess: false };

/** What a word may become: all its possible texts, split as the shell splits them. */
export function fieldsOf(word: Word, expander: Expander): readonly Field[] {
  const drafts = draftsOf(word, expander);
  return drafts.flatMap((draft) => {
    const texts = draft.text.split(SPLIT);
    // An expansion that is empty is no word at all, but quotes are.
    const mayVanish = draft.isKnown && (texts.length > 1 || word.text.startsWith("$"));
    const kept = mayVanish ? texts.filter(Boolean) : texts;
    const { isKnown, isPattern, isProcess } = draft;
    return kept.map((text, index): Field => {
      const lead = isKnown ? text : draft.lead;
      return { text, isKnown, lead, isPattern, isProcess, isFirst: index === 0, word };
    });
  });
}

/** The texts that a word may be as a whole, as an assignment takes it. */
export function valuesOf(word: Word, expander: Expander): Values {
  const drafts = draftsOf(word, expander);
  const unknown = drafts.filter(({ isKnown }) => !isKnown);
  if (unknown.length > 0) {
    return unknown.every(({ lead }) => /[^/=:,@.]$/.test(lead)) ? "name" : "anything";
  }
  if (drafts.some(({ isPattern, text }) => isPattern && mayClimb(text))) return "anything";
  return drafts.map(({ text }) => text.replaceAll(SPLIT, " "));
}

function draftsOf(word: Word, expander: Expander): readonly Draft[] {
  const { parts } = word;
  if (parts === undefined) return [{ ...EMPTY, text: word.value, lead: word.value }];
  return joined(parts, expander, false);
}

function joined(parts: readonly WordPart[], expander: Expander, quoted: boolean): readonly Draft[] {
  let drafts: readonly Draft[] = [EMPTY];
  for (const part of parts) {
    const next = partDrafts(part, expander, quoted);
    if (drafts.length * next.length > MOST) drafts = [{ ...EMPTY, isKnown: false }];
    else drafts = drafts.flatMap((left) => next.map((right) => appended(left, right)));
  }
  return drafts;
}

function appended(left: Draft, right: Draft): Draft {
  const isKnown = left.isKnown && right.isKnown;
  const text = left.text + right.text;
  const isGrown = text.length > LONGEST && left.text !== "" && right.text !== "";
  if (isGrown) return { ...EMPTY, isKnown: false };
  return {
    text,
    isKnown,
    lead: left.isKnown ? left.text + right.lead : left.lead,
    isPattern: left.isPattern || right.isPattern,
    isProcess: left.isProcess || right.isProcess,
  };
}

function partDrafts(part: WordPart, expander: Expander, quoted: boolean): readonly Draft[] {
  if (part.type === "DoubleQuoted" || part.type === "LocaleString") {
    return joined(part.parts, expander, true);
  }
  if (part.type === "CommandExpansion") return expanded(expander.output(part), quoted);
  if (part.type === "SimpleExpansion") {
    return expanded(expander.variable(part.text.slice(1), part), quoted);
  }
  if (part.type === "ParameterExpansion") return expanded(parameterValues(part, expander), quoted);
  return [fixedDraft(part)];
}

/** What a part becomes that is always the same. */
function fixedDraft(part: WordPart): Draft {
  if (part.type === "ArithmeticExpansion") return { ...EMPTY, text: "0", lead: "0" };
  if (part.type === "ProcessSubstitution") {
    return { ...EMPTY, text: "/dev/fd/63", lead: "/dev/fd/63", isProcess: true };
  }
  const isLiteral =
    part.type === "Literal" || part.type === "SingleQuoted" || part.type === "AnsiCQuoted";
  const text = isLiteral ? part.value : part.text;
  return { ...EMPTY, text, lead: text, isPattern: !isLiteral };
}

function expanded(values: Values, quoted: boolean): readonly Draft[] {
  if (values === "name") return [{ ...EMPTY, isKnown: false, text: "x", lead: "x" }];
  if (values === "anything" || values.length > MOST) return [{ ...EMPTY, isKnown: false }];
  return [...new Set(values)].map((value): Draft => {
    const text = quoted ? value : value.replace(/\s+/g, SPLIT);
    const isPattern = !quoted && /[*?[]/.test(value);
    return { text, lead: text, isPattern, isKnown: true, isProcess: false };
  });
}

function parameterValues(
  part: Extract<WordPart, { type: "ParameterExpansion" }>,
  expander: Expander,
): Values {
  const { parameter, prefix, index, operation } = part;
  if (prefix === "#") return ["0"];
  if (prefix !== undefined || index !== undefined) return "anything";
  const values = expander.variable(parameter, part);
  if (operation === undefined || typeof values === "string") return values;
  if (operation.type === "Default") {
    const others = valuesOf(operation.operand, expander);
    return typeof others === "string" ? others : [...new Set([...values, ...others])];
  }
  // A piece of what holds no slash holds none.
  const isPiece = operation.type === "Remove" && values.every((value) => !value.includes("/"));
  return isPiece ? "name" : "anything";
}
