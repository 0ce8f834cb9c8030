import { matchesPattern } from "../../base/client-pattern.ts";
import { jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { isObject } from "../../base/unknown.ts";
import type { ToolCall } from "../contract.ts";
import { hasOtherEffect, ToolError } from "../tools/contract.ts";
import type { CallContext, Effect, Tool } from "../tools/contract.ts";
import type { Caller, ConfirmRule, Permissions } from "./permissions.ts";

/** Calls that wait for a person's decision. */
export interface Confirmations {
  /** Stores the call and asks those who may decide. Rejects with a `Failure` if that is not possible. */
  ask(call: WaitingCall): Promise<{ readonly id: string }>;
  /** The calls that this client may decide about. */
  waitingFor(by: Client): Promise<readonly DecidableCall[]>;
  /** The call after the decision, of which only the first counts; undefined if this client has no such call. */
  decide(
    id: string,
    decision: "confirmed" | "denied",
    by: Client,
  ): Promise<DecidableCall | undefined>;
  /** The confirmed call that a turn of its client makes; `isFirst` is true once. */
  begin(id: string, of: Client): Promise<BegunCall | undefined>;
}

interface Client {
  readonly channel: string;
  readonly client: string;
}

interface WaitingCall extends Client {
  readonly tool: string;
  /** Its JSON text. */
  readonly arguments: string;
  readonly by: readonly string[];
  readonly milliseconds: number;
  readonly question: string;
}

/** What those who decide learn of a call. */
interface DecidableCall extends Client {
  readonly id: string;
  readonly tool: string;
  readonly question: string;
  readonly state: string;
  readonly decidedBy?: string;
  /** Milliseconds since the epoch. */
  readonly until: number;
}

interface BegunCall {
  readonly call: {
    readonly tool: string;
    readonly arguments: string;
    /** With which it was asked about. */
    readonly question: string;
  };
  readonly isFirst: boolean;
}

/**
 * Tools that only read, remember, write to clients, or begin tasks whose own calls wait. Where a profile names no
 * tools, the calls of all others wait: a tool that is not known here may do anything. So do those that act on a class,
 * as a job that runs a command does.
 */
const HARMLESS: ReadonlySet<string> = new Set([
  "cron",
  "device",
  "devices",
  "list_dir",
  "load_image",
  "memory",
  "message",
  "read_file",
  "spawn",
  "spawn_status",
  "subagent",
  "tool_search_tool_bm25",
  "tool_search_tool_regex",
  "use_skill",
  "web_fetch",
  "web_search",
]);

/** Characters of a call that a person can judge. */
const MAX_SHOWN = 1500;

/**
 * Has the call wait if its caller's profile says so: returns the result for the model, undefined if it may run.
 * Throws a `ToolError` if it cannot be asked about: then it does not run.
 */
export async function waitForConfirmation(
  tool: Tool,
  { arguments: words }: ToolCall,
  context: CallContext & { readonly confirmations?: Confirmations | undefined },
): Promise<string | undefined> {
  const { permissions, confirmations, channel, client } = context;
  const { confirm } = permissions;
  if (confirm === undefined) return undefined;
  const input = inputOf(tool, words);
  const classes = tool.actsOn === undefined ? [] : await tool.actsOn(input, context);
  if (classes === undefined || !isNamed(confirm, tool, classes)) return undefined;
  if (confirmations === undefined || channel === undefined) {
    throw new ToolError(`${tool.name} needs a confirmation, and nobody can be asked here`);
  }
  const question = await questionOf(tool, input, context);
  if (question.length > MAX_SHOWN) {
    throw new ToolError(
      `${tool.name} needs a person's confirmation: make the arguments shorter than ${MAX_SHOWN} characters`,
    );
  }
  const { by, minutes } = confirm;
  const wanted = { channel, client, tool: tool.name, arguments: words || "{}", by, question };
  try {
    const { id } = await confirmations.ask({ ...wanted, milliseconds: minutes * 60_000 });
    return `[not run yet: this call waits for the confirmation ${id} by ${by.join(" or ")}, for ${minutes} minutes. The program makes it by itself when it is confirmed, and tells the client. Say that it waits, and do not call it again.]`;
  } catch (thrown) {
    if (thrown instanceof Failure) throw new ToolError(`not run: ${thrown.message}`);
    throw thrown;
  }
}

/**
 * The JSON of the effect of a confirmed call; undefined if its arguments say all. Throws a `ToolError` if that is
 * another one than what a person was asked about.
 */
export async function effectAsAsked(
  tool: Tool,
  { arguments: words }: ToolCall,
  context: CallContext & { readonly asked: string },
): Promise<string | undefined> {
  if (tool.effect === undefined) return undefined;
  const input = inputOf(tool, words);
  const effect = await tool.effect(input, context);
  if (questionAbout(tool, input, context, effect) !== context.asked) throw hasOtherEffect(tool);
  return effect && JSON.stringify(effect);
}

/** What a person is asked. */
async function questionOf(tool: Tool, input: unknown, context: CallContext): Promise<string> {
  return questionAbout(tool, input, context, await tool.effect?.(input, context));
}

function questionAbout(
  { name }: Tool,
  input: unknown,
  { client }: CallContext,
  effect: Effect | undefined,
): string {
  const asks = `${shownName(client)} asks to run ${shownCall(name, input)}`;
  if (effect === undefined) return asks;
  const [does, what] = "runs" in effect ? ["runs", effect.runs] : ["publishes", effect.publishes];
  return `${asks}, which ${does} ${jsonLine(what).trim()}`;
}

/** Whether a job must not run a command that nobody has allowed: calls of `exec` wait, or those that make such a job. */
export function commandWaits({ confirm }: Pick<Permissions, "confirm">): boolean {
  if (confirm === undefined) return false;
  return isNamed(confirm, { name: "exec" }, []) || isNamed(confirm, { name: "cron" }, ["exec"]);
}

/** The arguments as the tool reads them; what is no JSON fails when it runs. */
function inputOf(tool: Tool, words: string): unknown {
  try {
    const input: unknown = words.trim() === "" ? {} : JSON.parse(words);
    return tool.coerce?.(input) ?? input;
  } catch {
    return words;
  }
}

function isNamed(
  { tools }: ConfirmRule,
  { name, permission = name }: Pick<Tool, "name" | "permission">,
  classes: readonly string[],
): boolean {
  if (tools.length === 0) return !HARMLESS.has(name) || classes.some((one) => one !== "");
  // A search has the permission of a tool that it finds.
  const known = HARMLESS.has(name) ? name : permission;
  const words = [name, known, ...classes, ...classes.map((each) => `${known}:${each}`)];
  return tools.some((pattern) =>
    words.some((word) => word !== "" && matchesPattern(pattern, word)),
  );
}

/** A call for people: nothing in it is hidden, and no text can pass for another line. */
function shownCall(name: string, input: unknown): string {
  return `${name}: ${jsonLine(isObject(input) ? input : { arguments: input }).trim()}`;
}

/** A client id in a sentence. */
function shownName(client: string): string {
  return jsonLine({ client }).trim().slice('{"client":'.length, -1);
}

/** Words for a person about the calls that wait for a decision of a client. */
export function waitingText(calls: readonly DecidableCall[]): string {
  if (calls.length === 0) return "No call waits for your decision.";
  return calls.map(({ id, question }) => `${id}: ${question}`).join("\n");
}

/** What became of a decision, in words for the person who made it. */
export function decidedText(
  call: DecidableCall | undefined,
  { client }: Pick<Caller, "client">,
  wanted: "confirmed" | "denied",
): string {
  if (call === undefined) return "No call of that id waits for your decision.";
  const { id, tool, state, decidedBy } = call;
  const isOurs = decidedBy === client && state === wanted;
  if (isOurs && state === "confirmed") return `Confirmed: ${tool} (${id}) runs now.`;
  if (isOurs) return `Refused: ${tool} (${id}) does not run.`;
  if (decidedBy === undefined) return `Too late: ${tool} (${id}) does not run.`;
  return `${shownName(decidedBy)} has decided about ${tool} (${id}) before.`;
}
