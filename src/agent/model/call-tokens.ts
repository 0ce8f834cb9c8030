import { estimatedTokens } from "../tokens.ts";
import type { ModelCall, ToolDefinition } from "./contract.ts";

/** Tokens of one call, by an estimate. */
export interface CallTokens {
  /** Of the system prompt and the tools. */
  readonly prompt: number;
  /** Of everything. */
  readonly all: number;
}

/** By call: several parts of the program ask. */
const counted = new WeakMap<ModelCall, CallTokens>();
/** By schema: tools are the same in each call. */
const sizes = new WeakMap<object, number>();
/** Of the last system prompt: it is mostly the same in each call. */
let lastSystem = { text: "", tokens: 0 };

/** Estimates the tokens of a call; each call is counted once. */
export function callTokens(call: ModelCall): CallTokens {
  const known = counted.get(call);
  if (known !== undefined) return known;
  const { system, messages, tools } = call;
  if (lastSystem.text !== system) lastSystem = { text: system, tokens: estimatedTokens(system) };
  let prompt = lastSystem.tokens;
  for (const tool of tools) prompt += toolTokens(tool);
  const tokens = { prompt, all: prompt + estimatedTokens(messages) };
  counted.set(call, tokens);
  return tokens;
}

function toolTokens({ name, description, parameters }: ToolDefinition): number {
  const size =
    sizes.get(parameters) ??
    estimatedTokens(name) +
      estimatedTokens(description) +
      estimatedTokens(JSON.stringify(parameters));
  sizes.set(parameters, size);
  return size;
}
