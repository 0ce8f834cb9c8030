import { at, isObject, listAt } from "../../../base/unknown.ts";
import type { ModelEntry } from "../../../config/contract.ts";
import type { ModelError } from "../errors.ts";
import type { EntryMemory } from "../memory.ts";
import { effortOf } from "../thinking.ts";
import { namesOf, rewriteFor, rewritesNamed } from "./chat-rewrites.ts";
import type { ChatRewrite } from "./chat-rewrites.ts";

type Body = Readonly<Record<string, unknown>>;

/** How later bodies differ in one field. */
type Change =
  /** The field has another name. */
  | { readonly name: string }
  /** The field has another value; undefined omits it. `always`: also where it was not sent. */
  | { readonly value: unknown; readonly always?: true };

export interface AdaptationOptions {
  readonly entry: Pick<ModelEntry, "extra_body" | "max_tokens_field" | "thinking_level">;
  /** The protocol refuses a body without a limit of output tokens. */
  readonly requiresLimit: boolean;
  /** Keeps what is learned under the name of a part; in memory only if left out. */
  readonly memory?: EntryMemory | undefined;
  readonly part?: string;
}

/**
 * What a server's refusals teach about the parameters of later requests: a refused one is omitted, or has the
 * value or the name that the refusal tells. Fields of `extra_body` are never changed.
 */
export function createAdaptation({ memory, part = "adaptation", ...options }: AdaptationOptions) {
  const changes = new Map<string, Change>();
  const rewrites = new Set<ChatRewrite>();
  const fixed = new Set([...ESSENTIAL, ...scopesOf(options.entry.extra_body).flatMap(Object.keys)]);
  const learn = createLearn(options, { changes, rewrites, fixed });
  let isRestored = false;
  /** Takes what former processes learned, before the first request. */
  const restore = (): void => {
    isRestored = true;
    const { fields, forms } = adaptationIn(memory?.get(part));
    for (const [name, change] of fields) if (!fixed.has(name)) changes.set(name, change);
    for (const rewrite of rewritesNamed(forms)) rewrites.add(rewrite);
  };

  return {
    /** The body as it is sent. */
    apply(full: Body): Body {
      if (!isRestored) restore();
      const body = [...rewrites].reduce((before, rewrite) => rewrite(before), full);
      if (changes.size === 0) return body;
      const both = changedThroughout(changes, body);
      return fixed.has("thinking") ? both : withSmallerBudget(both);
    },
    /** Whether a refusal is about a parameter of this body, so that the next request differs. */
    learn(refusal: ModelError, body: Body): boolean {
      const isLearned = learn(refusal, body);
      if (isLearned) memory?.set(part, { fields: [...changes], forms: namesOf(rewrites) });
      return isLearned;
    },
  };
}

interface Learned {
  readonly changes: Map<string, Change>;
  readonly rewrites: Set<ChatRewrite>;
  /** Fields that are never changed. */
  readonly fixed: ReadonlySet<string>;
}

function createLearn(
  { entry, requiresLimit }: Pick<AdaptationOptions, "entry" | "requiresLimit">,
  { changes, rewrites, fixed }: Learned,
) {
  const limits = new Set([...LIMITS, entry.max_tokens_field]);

  /** The change of one sent field that a refusal is about; undefined if there is none. */
  const changeOf = (name: string, value: unknown, refusal: ModelError): Change | undefined => {
    if (limits.has(name)) return limitChange(name, value, refusal, requiresLimit);
    if (refusal.kind === "overflow") return undefined;
    return {
      value: THINKING.has(name) ? suggestedThinking(name, value, refusal.message) : undefined,
    };
  };

  return (refusal: ModelError, body: Body): boolean => {
    if (!["refused", "overflow"].includes(refusal.kind)) return false;
    const rewrite = rewriteFor(refusal.message, body);
    if (rewrite !== undefined) {
      rewrites.add(rewrite);
      return true;
    }
    if (!STATUSES.has(refusal.status ?? 0) || HISTORY.test(refusal.message)) return false;
    const sent = new Map(scopesOf(body).flatMap((scope) => Object.entries(scope)));
    if (!fixed.has(EFFORT) && isWithoutEffort(refusal, sent.get(EFFORT))) {
      changes.set(EFFORT, { value: "none", always: true });
      return true;
    }
    const isLearned = learnField(refusal, sent);
    const level = effortOf(entry.thinking_level);
    const isKept = isLearned && !fixed.has("output_config") && losesBudget(refusal, body);
    if (isKept) changes.set("output_config", { value: { effort: level }, always: true });
    return isLearned;
  };

  function learnField(refusal: ModelError, sent: ReadonlyMap<string, unknown>): boolean {
    const names = [...sent.keys()].filter((name) => !fixed.has(name));
    // A longer name may contain a shorter one.
    names.sort((left, right) => right.length - left.length);
    for (const name of names.filter((one) => isAbout(refusal, one, sent))) {
      const change = changeOf(name, sent.get(name), refusal);
      if (change === undefined) continue;
      const isOmitted = "value" in change && change.value === undefined;
      const group = isOmitted ? GROUPS.get(name) : undefined;
      for (const one of names) if (one === name || group?.has(one)) changes.set(one, change);
      return true;
    }
    return false;
  }
}

/** The changes and the forms of messages in a stored adaptation; empty for anything else. */
function adaptationIn(stored: unknown) {
  const fields = listAt(stored, "fields").flatMap((pair): [string, Change][] => {
    const [name, change]: unknown[] = Array.isArray(pair) ? pair : [];
    if (typeof name !== "string" || !isObject(change)) return [];
    const { name: other, value, always } = change;
    if (typeof other === "string") return [[name, { name: other }]];
    return [[name, { value, ...(always === true && { always }) }]];
  });
  return { fields, forms: listAt(stored, "forms") };
}

/** Fields without which a request says something else. */
const ESSENTIAL = ["model", "messages", "contents", "input", "tools"].concat([
  "system",
  "systemInstruction",
  "instructions",
  "toolConfig",
]);
/** Where Gemini and Bedrock have their parameters. */
const NESTED = ["generationConfig", "inferenceConfig", "additionalModelRequestFields"];
const EFFORT = "reasoning_effort";
const LIMITS = ["max_tokens", "max_completion_tokens", "max_output_tokens"].concat([
  "maxOutputTokens",
  "maxTokens",
]);
/** The fields of all styles of thinking. */
const THINKING: ReadonlySet<string> = new Set([
  EFFORT,
  "reasoning",
  "thinking",
  "enable_thinking",
  "thinking_budget",
  "output_config",
  "thinkingConfig",
]);

/** The fields that are omitted with another one. */
const GROUPS: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ...[...THINKING].map((name) => [name, THINKING] as const),
  ["stream", new Set(["stream_options"])],
]);

/** Statuses for a refused parameter (FastAPI: 422). */
const STATUSES: ReadonlySet<number> = new Set([400, 422]);
/** A refusal about a message of the conversation. */
const HISTORY = /\b(?:messages|contents|input)[.[]\d/;

function scopesOf(body: Body): Body[] {
  const rest = Object.entries(body).filter(([name]) => !NESTED.includes(name));
  const nested = NESTED.map((name) => at(body, name)).filter(isObject);
  return [Object.fromEntries(rest), ...nested];
}

/** The body with all changes, also where its parameters are nested. */
function changedThroughout(changes: ReadonlyMap<string, Change>, body: Body): Body {
  const changed: Record<string, unknown> = { ...changedBy(changes, body) };
  for (const name of NESTED) {
    const nested = changed[name];
    if (isObject(nested)) changed[name] = changedBy(changes, nested);
  }
  return changed;
}

function changedBy(changes: ReadonlyMap<string, Change>, body: Body): Body {
  const changed: Record<string, unknown> = { ...body };
  const isNested = !("model" in body || "messages" in body || "contents" in body);
  for (const [name, change] of changes) {
    const isAdded = "always" in change && !isNested;
    if (!(name in changed) && !isAdded) continue;
    const value = changed[name];
    delete changed[name];
    if ("name" in change) changed[change.name] = value;
    else if (change.value !== undefined) changed[name] = change.value;
  }
  return changed;
}

/** A budget of thinking (Anthropic) below the limit of output tokens; a quarter of the limit stays for the text. */
function withSmallerBudget(body: Body): Body {
  const { max_tokens: limit, thinking } = body;
  const budget = at(thinking, "budget_tokens");
  if (typeof limit !== "number" || typeof budget !== "number" || budget < limit) return body;
  return { ...body, thinking: { ...Object(thinking), budget_tokens: Math.floor((limit * 3) / 4) } };
}

const DENIED =
  "(?:not|cannot|can't|disabled|extra|only|invalid|mandatory|deprecated|un(?:supported|known|expected|recognized|available))";

/** Whether a word stands near a denial, in one sentence. */
function isDenied(word: string, message: string): boolean {
  const near = `\\b${word}\\b[^.]{0,60}\\b${DENIED}\\b|\\b${DENIED}\\b[^.]{0,60}\\b${word}\\b`;
  return new RegExp(near, "i").test(message);
}

/** Whether a refusal is about a field: by its parameter if that is one, otherwise by its message. */
function isAbout(
  { parameter, message }: ModelError,
  name: string,
  sent: ReadonlyMap<string, unknown>,
): boolean {
  const named = parameter?.split(/[.[]/)[0] ?? "";
  if (sent.has(named)) return named === name;
  if (THINKING.has(name) && isDenied("(?:thinking|reasoning)(?!_content)(?:_\\w+)?", message))
    return true;
  if (LIMITS.includes(name) && windowLeft(message)) return true;
  // A word of plain English must be quoted or denied; `temperature` means nothing else.
  if (/[_A-Z]/.test(name) || name === "temperature")
    return new RegExp(`\\b${name}\\b`).test(message);
  return new RegExp(`["'\`]${name}["'\`.]`).test(message) || isDenied(`${name}(?:ing)?`, message);
}

/** Another name or a lower number if the refusal tells one, otherwise no limit. */
function limitChange(
  name: string,
  sent: unknown,
  { kind, message }: ModelError,
  isRequired: boolean,
): Change | undefined {
  if (kind === "overflow" && !windowLeft(message)) return undefined;
  const other = /\buse ["'`]?(\w+)["'`]? instead/i.exec(message)?.[1];
  if (other !== undefined && other !== name && LIMITS.includes(other)) return { name: other };
  const value = windowLeft(message) ? undefined : suggestedLimit(message, Number(sent));
  if (value === "other") return undefined;
  // Without a limit a server uses what the prompt leaves of the window.
  return value === undefined && isRequired ? undefined : { value };
}

/** The largest number in a refusal below the sent one; "other" if the refusal is about another number. */
function suggestedLimit(message: string, sent: number): number | "other" | undefined {
  const numbers = numbersIn(message);
  if (numbers.length > 0 && numbers.every((one) => one > sent)) return "other";
  const lower = numbers.filter((one) => one >= LEAST_LIMIT && one < sent);
  return lower.length === 0 ? undefined : Math.max(...lower);
}

/** A smaller number is no limit of output tokens. */
const LEAST_LIMIT = 64;

/** The numbers of a refusal, but those in names and dates; a bound that is exclusive is one less. */
function numbersIn(message: string): number[] {
  const words = message.replace(/^HTTP \d+: /, "");
  const found = words.matchAll(/(?<![\w.-])(\d[\d,]*)(?![\w-])( \(exclusive\))?/g);
  return [...found].map(
    ([, digits, exclusive]) =>
      Number(digits?.replaceAll(",", "")) - Number(exclusive !== undefined),
  );
}

/** Whether the prompt alone fits into the window that a refusal tells, and only the limit of the answer does not. */
function windowLeft(message: string): boolean {
  const window = Number(/maximum context length is (\d+)/.exec(message)?.[1]);
  const parts = message.matchAll(
    /(\d+) (?:input tokens|of \w+ input|in the (?:messages|functions|prompt))/g,
  );
  const prompt = [...parts].reduce((sum, [, count]) => sum + Number(count), 0);
  return prompt > 0 && prompt < window;
}

const EFFORTS = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/** Claude's models that think without a budget. */
const ADAPTIVE = /\buse ["'`]thinking\.type\.adaptive["'`]/i;

/** Whether a model of Claude refuses a budget, so that the level must go on as an effort. */
function losesBudget({ message }: ModelError, { thinking }: Body): boolean {
  return ADAPTIVE.test(message) && at(thinking, "budget_tokens") !== undefined;
}

/** The value that a refusal tells for a field of thinking; undefined if it tells none. */
function suggestedThinking(name: string, value: unknown, message: string): unknown {
  if (name === "thinking" && ADAPTIVE.test(message)) return { type: "adaptive" };
  return suggestedEffort(value, message);
}

/** The value with the nearest effort that a refusal lists, the lower one of two; undefined if it lists none. */
function suggestedEffort(value: unknown, message: string): unknown {
  const sent = typeof value === "string" ? value : at(value, "effort");
  if (typeof sent !== "string") return undefined;
  const listed = [...message.matchAll(/["'`](\w+)["'`]/g)].map(([, word]) =>
    EFFORTS.indexOf(word ?? ""),
  );
  const wanted = EFFORTS.indexOf(sent);
  const able = listed.filter((index) => index > 0 && index !== wanted);
  able.sort((left, right) => Math.abs(left - wanted) - Math.abs(right - wanted) || left - right);
  const [nearest] = able;
  if (nearest === undefined) return undefined;
  const effort = EFFORTS[nearest];
  return typeof value === "string" ? effort : { ...Object(value), effort };
}

/** OpenAI's chat completions refuse tools with reasoning, also where no effort was sent. */
const TOOLS_WITH_EFFORT = /function tools with reasoning_effort are not supported/i;
const SET_NONE = /\bset ["'`]?reasoning_effort["'`]? to ["'`]none["'`]/i;

/** Whether a refusal demands the effort `none`, which was not sent. */
function isWithoutEffort({ message }: ModelError, sent: unknown): boolean {
  if (SET_NONE.test(message)) return sent !== "none";
  return sent === undefined && TOOLS_WITH_EFFORT.test(message);
}
