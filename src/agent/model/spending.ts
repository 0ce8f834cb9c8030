import type { Spent, Usage } from "../../base/contract.ts";
import type { Prices } from "../../config/contract.ts";
import { estimatedTokens } from "../tokens.ts";
import { callTokens } from "./call-tokens.ts";
import type { ModelCall, Reply } from "./contract.ts";
import type { ModelErrorKind, ModelError } from "./errors.ts";

/** The model that is called, and what its tokens cost. */
interface Called {
  readonly name: { readonly name: string; readonly provider: string; readonly model: string };
  readonly prices?: Prices | undefined;
}

/** Tokens of an answer to count in one step while it comes. */
const STEP = 1024;
/** Errors before an answer, which providers do not bill. */
const FREE: ReadonlySet<ModelErrorKind> = new Set([
  "unreachable",
  "refused",
  "toolless",
  "imageless",
  "wrong_path",
  "parameter",
  "overflow",
]);
const MILLION = 1_000_000;

/**
 * Counts one call against the caller's allowance: an estimate by its texts from the start, and the provider's
 * numbers at the end. An interrupted call is counted as far as it went. Absent without an allowance; throws a
 * `Failure` of code `budget` if it is used up.
 */
export function beginSpending(question: ModelCall, { name, prices }: Called) {
  const { allowance } = question;
  if (allowance === undefined) return undefined;
  const inputTokens = callTokens(question).all;
  let counted = priced({ inputTokens, outputTokens: 0 }, prices);
  let [written, pieces, isSettled] = [0, 0, false];
  const startedAt = performance.now();
  let error: string | undefined = "cut_off";
  const count = allowance.begin(counted);

  const settle = (usage: Usage): void => {
    const spent = priced(usage, prices);
    const more = difference(spent, counted);
    if (more.inputTokens !== 0 || more.outputTokens !== 0 || more.cost !== 0) count(more);
    counted = spent;
  };
  /** Each chunk is at least one token: reasoning is billed as well. */
  const soFar = (): Usage => ({
    inputTokens,
    outputTokens: Math.max(written, pieces),
  });

  return {
    /** A chunk of the answer came, with its text; that of a thought has none. */
    onChunk(text: string): void {
      pieces += 1;
      if (text !== "") written += estimatedTokens(text);
      const usage = soFar();
      if (usage.outputTokens - counted.outputTokens >= STEP) settle(usage);
    },
    onReply(reply: Reply): void {
      isSettled = true;
      error = undefined;
      settle(reply.usage ?? { inputTokens, outputTokens: tokensIn(reply) });
    },
    onError({ kind }: ModelError): void {
      error = kind;
      if (written > 0 || !FREE.has(kind)) return;
      isSettled = true;
      settle({ inputTokens: 0, outputTokens: 0 });
    },
    /** Counts the rest; nothing may follow. */
    end(): void {
      if (!isSettled) settle(soFar());
      allowance.ended?.({
        ...name,
        startedAt,
        endedAt: performance.now(),
        spent: counted,
        ...(error !== undefined && { error }),
      });
    },
  };
}

/** Anthropic's price of a token that is written to its cache for five minutes, as a multiple of a token read. */
const CACHE_WRITE = 1.25;

function priced(usage: Usage, prices: Prices | undefined): Spent {
  const { input = 0, output = 0 } = prices ?? {};
  const { cached = input, cache_write: cacheWrite = input * CACHE_WRITE } = prices ?? {};
  const { inputTokens, outputTokens, cachedTokens = 0, cacheWriteTokens = 0 } = usage;
  const uncached = inputTokens - cachedTokens - cacheWriteTokens;
  const read = uncached * input + cachedTokens * cached + cacheWriteTokens * cacheWrite;
  return { ...usage, cost: (read + outputTokens * output) / MILLION };
}

function difference(spent: Spent, counted: Spent): Spent {
  return {
    inputTokens: spent.inputTokens - counted.inputTokens,
    outputTokens: spent.outputTokens - counted.outputTokens,
    cachedTokens: (spent.cachedTokens ?? 0) - (counted.cachedTokens ?? 0),
    cost: spent.cost - counted.cost,
  };
}

function tokensIn({ text, toolCalls, reasoning = "" }: Reply): number {
  return toolCalls.reduce(
    (total, call) => total + estimatedTokens(call.name) + estimatedTokens(call.arguments),
    estimatedTokens(text) + estimatedTokens(reasoning),
  );
}
