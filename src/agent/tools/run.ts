import { TimeoutError, withTimeout } from "../../base/async.ts";
import { messageOf } from "../../base/failure.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import { alternatives } from "../../base/spelling.ts";
import { prefixOf } from "../../base/truncate.ts";
import { fromJson } from "../../base/unknown.ts";
import type { ToolSettings } from "../../config/contract.ts";
import type { Confirmations } from "../access/confirmations.ts";
import { ownerOf } from "../access/permissions.ts";
import type { Caller, Permissions } from "../access/permissions.ts";
import type { ToolCall, Turn } from "../contract.ts";
import type { ToolHooks } from "../hooks/contract.ts";
import { RefusedCall, resultOf, ToolError } from "./contract.ts";
import type { CallContext, Tool } from "./contract.ts";

/** The context of a call for a caller with these permissions. */
export function callContextOf(
  {
    client,
    channel,
    isRemote = false,
    hops,
    pushed,
    isFromJob = pushed?.from === "job",
    signal,
    allowance,
  }: Caller & Pick<CallContext, "signal" | "allowance"> & Pick<Turn, "pushed">,
  permissions: Permissions,
): CallContext {
  const caller = { client, channel, isRemote, hops, isFromJob };
  return { ...caller, owner: ownerOf(caller), permissions, signal, allowance };
}

/** Calls of one answer that run at the same time. A board has few cores and little memory. */
const MAX_PARALLEL = 8;

/**
 * Runs the tool calls of one answer in parallel, and returns their results in the order of the calls. A
 * call of an exclusive tool begins when all calls before it have ended, and the calls after it wait for
 * its end, so that changes happen in the order that the model wrote.
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
  const exclusive = new Set(tools.filter((tool) => tool.exclusive).map(({ name }) => name));
  const batches: ToolCall[][] = [];
  let open: ToolCall[] | undefined;
  for (const call of calls) {
    const isExclusive = exclusive.has(call.name);
    if (isExclusive || open === undefined || open.length === MAX_PARALLEL) {
      open = [];
      batches.push(open);
    }
    open.push(call);
    if (isExclusive) open = undefined;
  }
  return batches;
}

export interface RunOptions extends CallContext {
  readonly tools: readonly Tool[];
  /** Where calls wait that a person has to allow; without it they do not run. */
  readonly confirmations?: Confirmations | undefined;
  /** With this question a person was asked about the call, if one was. */
  readonly asked?: string | undefined;
  /** Time limit of a call in milliseconds, if the tool has none of its own; default 30 s. */
  readonly milliseconds?: number;
  /** Called before and after each call. Their time does not count for the tool's limit. */
  readonly hooks?: ToolHooks | undefined;
}

const CALL_MS = 30_000;
/** Characters of one result; a longer one would only fill the model's window. */
const MAX_RESULT = 10_000;

/**
 * Runs one tool call of a model. Unknown tools, malformed arguments, errors and the deadline are results
 * too, so that the model can try again. Throws the signal's reason, and the `Failure` with which a hook
 * ends the turn.
 */
export async function runTool(call: ToolCall, options: RunOptions): Promise<string> {
  return await resultOf(async () => {
    const tool = findTool(call.name, options);
    const input = parseArguments(call.arguments);
    const confirmed = await effectAsAsked(tool, call, options);
    const waits = await waitText(tool, call, options);
    return waits ?? (await execute(tool, input, { ...options, confirmed }));
  }, options);
}

/** The JSON of the effect of a confirmed call. Throws a `ToolError` if that is another one now. */
async function effectAsAsked(
  tool: Tool,
  call: ToolCall,
  options: RunOptions,
): Promise<string | undefined> {
  const { asked } = options;
  if (asked === undefined) return undefined;
  const { effectAsAsked: asAsked } = await import("../access/confirmations.ts");
  return asAsked(tool, call, { ...options, asked });
}

/** What the model learns of a call that waits for a person; undefined if it need not. */
async function waitText(
  tool: Tool,
  call: ToolCall,
  options: RunOptions,
): Promise<string | undefined> {
  const { permissions, isConfirmed = false } = options;
  if (permissions.confirm === undefined || isConfirmed) return undefined;
  const { waitForConfirmation } = await import("../access/confirmations.ts");
  return waitForConfirmation(tool, call, options);
}

/** The tool with that name. Throws a `ToolError` if there is none, or the client may not use it. */
function findTool(name: string, { tools, permissions }: RunOptions): Tool {
  const tool = tools.find((each) => each.name === name);
  if (tool === undefined) {
    const names = tools.map((each) => each.name);
    const why = `there is no tool ${JSON.stringify(name)}${alternatives("Tools", name, names)}`;
    throw new ToolError(limitLength(why));
  }
  // Such a tool was not offered to the model, but a model may call it anyway.
  if (!permissions.allows(tool.permission ?? tool.name))
    throw new RefusedCall(`this client may not use ${tool.name}`);
  return tool;
}

/** Hooks see the arguments as the tool reads them, and may change them and the tool. */
async function execute(tool: Tool, input: unknown, options: RunOptions): Promise<string> {
  const { hooks, client, channel, isRemote, signal } = options;
  if (hooks === undefined) return await runWithinLimits(tool, input, options);
  const words = tool.coerce === undefined ? input : tool.coerce(input);
  if (typeof words !== "object" || words === null || Array.isArray(words)) {
    throw new ToolError("wrong arguments: they are not an object");
  }
  const call = { client, channel, isRemote, tool: tool.name, arguments: { ...words }, signal };
  const verdict = await hooks.before(call);
  if ("answer" in verdict && verdict.isDenied) options.onRefusal?.();
  if ("answer" in verdict) return limitLength(verdict.answer, tool.characters);
  // The tool that a hook chooses must be allowed too.
  const chosen = findTool(verdict.tool, options);
  const startedAt = performance.now();
  const text = await runWithinLimits(chosen, verdict.arguments, options);
  const shown = await hooks.after({ ...call, ...verdict }, text, performance.now() - startedAt);
  return limitLength(shown, chosen.characters);
}

/** The tool with its hooks, for a caller without a model. */
export function withHooks(tool: Tool, hooks: ToolHooks | undefined): Tool {
  if (hooks === undefined) return tool;
  return {
    ...tool,
    run: (input, facts) =>
      resultOf(() => execute(tool, input, { ...facts, tools: [tool], hooks }), facts),
  };
}

async function runWithinLimits(tool: Tool, input: unknown, options: RunOptions): Promise<string> {
  const { tools: _tools, hooks: _hooks, confirmations: _confirmations, ...rest } = options;
  const { milliseconds: usual = CALL_MS, ...facts } = rest;
  const { signal } = facts;
  const { milliseconds = usual, characters = MAX_RESULT } = tool;
  try {
    const text = await withTimeout(milliseconds, signal, (limit) =>
      tool.run(input, { ...facts, signal: limit }),
    );
    return limitLength(text, characters);
  } catch (thrown) {
    signal.throwIfAborted();
    if (thrown instanceof TimeoutError)
      return `error: the tool was ${thrown.message} and was given up`;
    const words = messageOf(thrown);
    return limitLength(`error: the tool failed: ${words}`);
  }
}

function parseArguments(words: string): unknown {
  if (words.trim() === "") return {};
  try {
    return fromJson(words);
  } catch (error) {
    const why = `the arguments are no valid JSON (${messageOf(error)}): ${words.slice(0, 200)}`;
    throw new ToolError(limitLength(why));
  }
}

/** Cuts a long text between code points and adds a note. */
function limitLength(text: string, most = MAX_RESULT): string {
  if (text === "") return "(the tool returned nothing)";
  if (text.length <= most) return text;
  return `${prefixOf(text, most)}\n… (cut here: the result has ${text.length} characters)`;
}

/** Masks secrets in a text for a model. */
export type SecretFilter = (text: string) => string;

/** What the settings leave of the redactor for the model's eyes: nothing at all, or longer texts alone. */
export function createSecretFilter(
  redactor: Pick<Redactor, "redact">,
  settings: Pick<ToolSettings, "filter_sensitive_data" | "filter_min_length">,
): SecretFilter {
  const { filter_sensitive_data, filter_min_length } = settings;
  if (!filter_sensitive_data) return (text) => text;
  return (text) => (text.length < filter_min_length ? text : redactor.redact(text));
}

/** The tool with secrets masked in its results and in the messages of its errors. */
export function withFilter(tool: Tool, filter: SecretFilter): Tool {
  return {
    ...tool,
    async run(input, call) {
      try {
        return filter(await tool.run(input, call));
      } catch (thrown) {
        call.signal.throwIfAborted();
        if (!(thrown instanceof Error)) throw thrown;
        const message = filter(thrown.message);
        // An error without a secret stays the same object: the caller may compare it.
        throw message === thrown.message ? thrown : new Error(message);
      }
    },
  };
}
