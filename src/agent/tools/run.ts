import { TimeoutError, withTimeout } from "../../base/async.ts";
import { nearestWord } from "../../base/spelling.ts";
import { prefixOf } from "../../base/truncate.ts";
import { fromJson } from "../../base/unknown.ts";
import { ownerOf } from "../access/permissions.ts";
import type { Caller, Permissions } from "../access/permissions.ts";
import type { ToolCall } from "../contract.ts";
import type { ToolHooks } from "../hooks/contract.ts";
import type { CallContext, Tool } from "./contract.ts";

export interface RunOptions extends CallContext {
  readonly tools: readonly Tool[];
  /** Milliseconds one call of a tool that names none of its own may take; 30 s. */
  readonly milliseconds?: number;
  /** Asked before and after each call; their time is not the tool's. */
  readonly hooks?: ToolHooks | undefined;
}

const CALL_MS = 30_000;
/** Characters of one result; what is longer would only fill the model's window. */
const MAX_RESULT = 10_000;

/**
 * Runs one call of a model and always has an answer for it: unknown tools, malformed arguments,
 * failures and the deadline are answers too, so that the model can do better. Throws the signal's
 * reason, and the `Failure` with which a hook ends the turn.
 */
export async function runTool(call: ToolCall, options: RunOptions): Promise<string> {
  const tool = offered(call.name, options);
  if (typeof tool === "string") return tool;
  const input = parsedArguments(call.arguments);
  if (typeof input === "string") return input;
  return options.hooks === undefined
    ? await ran(tool, input.value, options)
    : await ranWithHooks(tool, input.value, { ...options, hooks: options.hooks });
}

/** The tool of that name, or in words why there is none. */
function offered(name: string, { tools, permissions }: RunOptions): Tool | string {
  const tool = tools.find((each) => each.name === name);
  if (tool === undefined) return unknownTool(name, tools);
  // It was not even offered then, whatever the model was talked into.
  return permissions.allows(tool.name) ? tool : `error: this client may not use ${tool.name}`;
}

/** Hooks see the arguments as the tool will read them, and may change them and the tool. */
async function ranWithHooks(
  tool: Tool,
  input: unknown,
  options: RunOptions & { readonly hooks: ToolHooks },
): Promise<string> {
  const { hooks, client, channel, isRemote, signal } = options;
  const words = tool.coerce === undefined ? input : tool.coerce(input);
  if (typeof words !== "object" || words === null || Array.isArray(words)) {
    return "error: wrong arguments: they are no object";
  }
  const caller = { client, ...(channel !== undefined && { channel }), isRemote };
  const call = { ...caller, tool: tool.name, arguments: { ...words }, signal };
  const verdict = await hooks.before(call);
  if ("answer" in verdict) return bounded(verdict.answer, tool.characters);
  // What a hook puts in its place must be allowed, too.
  const chosen = offered(verdict.tool, options);
  if (typeof chosen === "string") return chosen;
  const startedAt = performance.now();
  const text = await ran(chosen, verdict.arguments, options);
  const shown = await hooks.after({ ...call, ...verdict }, text, performance.now() - startedAt);
  return bounded(shown, chosen.characters);
}

/** The tool for who calls it without a model: its hooks are asked all the same. */
export function withHooks(tool: Tool, hooks: ToolHooks | undefined): Tool {
  if (hooks === undefined) return tool;
  return {
    ...tool,
    run: (input, facts) => ranWithHooks(tool, input, { ...facts, tools: [tool], hooks }),
  };
}

async function ran(tool: Tool, input: unknown, options: RunOptions): Promise<string> {
  const { tools: _tools, hooks: _hooks, milliseconds: usual = CALL_MS, ...facts } = options;
  const { signal } = facts;
  const { milliseconds = usual, characters = MAX_RESULT } = tool;
  try {
    const text = await withTimeout(milliseconds, signal, (limit) =>
      tool.run(input, { ...facts, signal: limit }),
    );
    return bounded(text, characters);
  } catch (thrown) {
    signal.throwIfAborted();
    if (thrown instanceof TimeoutError)
      return `error: the tool was ${thrown.message} and was given up`;
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
  return `${prefixOf(text, most)}\n… (cut here: the result has ${text.length} characters)`;
}

/** Calls of one answer that run at the same time; a board has few cores and little memory. */
const SIDE_BY_SIDE = 8;

/**
 * Runs the calls of one answer, and gives their results in the order of the calls: side by side as
 * far as the tools allow it. A call of a tool that must be alone begins when those before it have
 * ended, and those behind it wait for its end, so that what the model wrote first happens first.
 */
export async function runCalls<T>(
  calls: readonly ToolCall[],
  tools: readonly Tool[],
  run: (call: ToolCall) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  for (const batch of batchesOf(calls, tools)) results.push(...(await Promise.all(batch.map(run))));
  return results;
}

function batchesOf(calls: readonly ToolCall[], tools: readonly Tool[]): ToolCall[][] {
  const alone = new Set(tools.filter((tool) => tool.exclusive).map(({ name }) => name));
  const batches: ToolCall[][] = [];
  let open: ToolCall[] | undefined;
  for (const call of calls) {
    const isAlone = alone.has(call.name);
    if (isAlone || open === undefined || open.length === SIDE_BY_SIDE) {
      open = [];
      batches.push(open);
    }
    open.push(call);
    if (isAlone) open = undefined;
  }
  return batches;
}

/** What tools are told of who asks. */
export function callContextOf(
  {
    client,
    channel,
    isRemote = false,
    signal,
    allowance,
  }: Caller & Pick<CallContext, "signal" | "allowance">,
  permissions: Permissions,
): CallContext {
  const caller = { client, ...(channel !== undefined && { channel }), isRemote };
  return { ...caller, owner: ownerOf(caller), permissions, signal, allowance };
}
