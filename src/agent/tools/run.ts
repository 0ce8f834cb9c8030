import { nearestWord } from "../../base/spelling.ts";
import type { ToolCall } from "../contract.ts";
import { fromJson } from "../read.ts";
import { beginningOf } from "../shorten.ts";
import { TimeOver, within } from "../within.ts";
import type { CallFacts, Tool } from "./contract.ts";

export interface RunOptions extends CallFacts {
  readonly tools: readonly Tool[];
  /** Milliseconds one call of a tool that names none of its own may take; 30 s. */
  readonly milliseconds?: number;
}

const CALL_MS = 30_000;
/** Characters of one result; what is longer would only fill the model's window. */
const MAX_RESULT = 10_000;

/**
 * Runs one call of a model and always has an answer for it: unknown tools, malformed arguments,
 * failures and the deadline are answers too, so that the model can do better. Throws the signal's
 * reason alone.
 */
export async function runTool(call: ToolCall, options: RunOptions): Promise<string> {
  const { tools, milliseconds: usual = CALL_MS, ...facts } = options;
  const { signal, rights } = facts;
  const tool = tools.find(({ name }) => name === call.name);
  if (tool === undefined) return unknownTool(call.name, tools);
  // It was not even offered then, whatever the model was talked into.
  if (!rights.allows(tool.name)) return `error: this client may not use ${tool.name}`;
  const input = parsedArguments(call.arguments);
  if (typeof input === "string") return input;
  const { milliseconds = usual, characters = MAX_RESULT } = tool;
  try {
    const text = await within(milliseconds, signal, (limit) =>
      tool.run(input.value, { ...facts, signal: limit }),
    );
    return bounded(text, characters);
  } catch (thrown) {
    signal.throwIfAborted();
    if (thrown instanceof TimeOver) return `error: the tool was ${thrown.message} and was given up`;
    const words = thrown instanceof Error ? thrown.message : String(thrown);
    return bounded(`error: the tool failed: ${words}`);
  }
}

function unknownTool(name: string, tools: readonly Tool[]): string {
  const known = tools.map((tool) => tool.name);
  const nearest = nearestWord(name, known);
  const hint = nearest === undefined ? "." : `, did you mean ${nearest}?`;
  return bounded(
    `error: there is no tool ${JSON.stringify(name)}${hint} Tools are: ${known.join(", ") || "none"}.`,
  );
}

function parsedArguments(words: string): { value: unknown } | string {
  if (words.trim() === "") return { value: {} };
  try {
    return { value: fromJson(words) };
  } catch (error) {
    const why = error instanceof Error ? error.message : "unreadable";
    return bounded(`error: the arguments are no valid JSON (${why}): ${words.slice(0, 200)}`);
  }
}

/** Cut between code points, with a word that it was cut. */
function bounded(text: string, most = MAX_RESULT): string {
  if (text === "") return "(the tool said nothing)";
  if (text.length <= most) return text;
  return `${beginningOf(text, most)}\n… (cut here: the result has ${text.length} characters)`;
}
