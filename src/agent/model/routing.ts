import type { Message } from "../contract.ts";

/** What is looked at to tell a light question from another. */
export interface RoutedTurn {
  readonly history: readonly Message[];
  readonly text: string;
}

/** Messages at the end of the history whose tool calls count. */
const RECENT = 6;

/** Whether a light model is enough: the score (0 to 1) of the question is below the threshold. */
export function isLight(turn: RoutedTurn, threshold: number): boolean {
  return scoreOf(turn) < threshold;
}

/** How heavy a question looks, with the weights of Go PicoClaw; no model is asked for it. */
function scoreOf({ history, text }: RoutedTurn): number {
  if (/\bdata:[\w.+-]+\/[\w.+-]+[;,]/i.test(text)) return 1;
  const code = text.includes("```") ? 40 : 0;
  const depth = history.length > 10 ? 10 : 0;
  return Math.min(100, lengthPoints(text) + code + callPoints(history) + depth) / 100;
}

/** By an estimate of the tokens: two for five characters. */
function lengthPoints(text: string): number {
  const tokens = Math.floor((codePointsOf(text) * 2) / 5);
  if (tokens > 200) return 35;
  return tokens > 50 ? 15 : 0;
}

function codePointsOf(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

function callPoints(history: readonly Message[]): number {
  let calls = 0;
  for (const message of history.slice(-RECENT)) {
    if (message.role === "assistant") calls += message.toolCalls?.length ?? 0;
  }
  if (calls > 3) return 25;
  return calls > 0 ? 10 : 0;
}
