import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { variable } from "../../base/host.ts";
import type { Log } from "../../base/log.ts";
import { truncate } from "../../base/truncate.ts";
import { at, isObject, textAt } from "../../base/unknown.ts";
import type { HookSettings, HookStage } from "../../config/contract.ts";
import { ownerOf } from "../access/permissions.ts";
import type { Caller } from "../access/permissions.ts";
import { commandEnvironment } from "../tools/exec/environment.ts";
import type { HookedCall, ToolHooks, Verdict } from "./contract.ts";
import { Hook, HookError } from "./hook.ts";

export interface ToolHooksOptions {
  readonly settings: HookSettings;
  /** Absolute path. `PATH` of the hooks contains no folder below it. */
  readonly workspace: string;
  /** Masks secrets in the results of hooks. */
  readonly filter: (text: string) => string;
  readonly log: Log;
}

/** Characters of a hook's reason in the answer to the model. */
const MAX_REASON = 500;

/** The trace path of a stage, as in Go PicoClaw. */
const TRACE = {
  before_tool: "turn.tool.before",
  approve_tool: "turn.tool.approve",
  after_tool: "turn.tool.after",
};

/** A call that may run. */
type Call = Pick<HookedCall, "tool" | "arguments">;

/** The decision of a hook. Reasons are its own words. */
type Decision =
  /** `call` or `text` is present if the hook changed the call or its result. */
  | { readonly is: "continue"; readonly call?: Call; readonly text?: string }
  /** A result in place of the tool's. */
  | { readonly is: "respond"; readonly text: string }
  | { readonly is: "deny"; readonly reason: string }
  | { readonly is: "abort" };

/** The hooks of a configuration. The first tool call starts them. */
export function createToolHooks(options: ToolHooksOptions): ToolHooks {
  const { filter } = options;
  const hooks = openHooks(options);
  // As in Go PicoClaw, a hook of one of the two stages is called for both.
  const interceptors = hooks.filter(
    ({ stages }) => stages.has("before_tool") || stages.has("after_tool"),
  );
  const approvers = hooks.filter(({ stages }) => stages.has("approve_tool"));
  const ask = (question: Omit<Question, "log">) => askHook({ ...question, log: options.log });
  return {
    async before({ tool, arguments: words, ...caller }) {
      let call: Call = { tool, arguments: words };
      for (const hook of interceptors) {
        const decision = await ask({ hook, stage: "before_tool", caller, call });
        if (decision.is === "respond") return { answer: filter(decision.text) };
        if (decision.is === "deny") return denial("hook", filter(decision.reason));
        call = decision.call ?? call;
      }
      for (const hook of approvers) {
        const decision = await ask({ hook, stage: "approve_tool", caller, call });
        if (decision.is === "deny") return denial("approval hook", filter(decision.reason));
      }
      return call;
    },
    async after({ tool, arguments: words, ...caller }, result, milliseconds) {
      const call = { tool, arguments: words };
      let text = result;
      for (const hook of interceptors) {
        const more = { result: resultOf(text), duration: Math.round(milliseconds * 1e6) };
        const decision = await ask({ hook, stage: "after_tool", caller, call, more });
        if (decision.is === "deny") return withheld(decision.reason);
        if (decision.is === "continue" && decision.text !== undefined) text = filter(decision.text);
      }
      return text;
    },
    async close() {
      await Promise.all(hooks.map((hook) => hook.close()));
    },
  };
}

function openHooks({ settings, workspace, log }: ToolHooksOptions): readonly Hook[] {
  const limits = {
    before_tool: settings.interceptor_timeout_ms,
    after_tool: settings.interceptor_timeout_ms,
    approve_tool: settings.approval_timeout_ms,
  };
  const env = commandEnvironment(variable, workspace);
  return settings.processes.map((each) => new Hook({ settings: each, env, limits, log }));
}

interface Question {
  readonly hook: Hook;
  readonly stage: HookStage;
  readonly caller: Omit<HookedCall, keyof Call>;
  readonly call: Call;
  /** Further parameters. */
  readonly more?: Readonly<Record<string, unknown>>;
  readonly log: Log;
}

/** The decision of a hook; a hook that fails denies. Throws if it ends the turn, and the signal's reason. */
async function askHook(question: Question): Promise<Exclude<Decision, { readonly is: "abort" }>> {
  const { hook, stage, call, log } = question;
  const facts = { hook: hook.name, stage, tool: escapeControl(truncate(call.tool, 100)) };
  const decision = await decisionIn(question).catch((thrown: unknown): Decision => {
    if (!(thrown instanceof HookError)) throw thrown;
    if (isExcused(hook, stage, thrown)) return { is: "continue" };
    log.warn("a hook failed; the tool call is denied", { ...facts, why: thrown.message });
    return { is: "deny", reason: `${JSON.stringify(hook.name)} failed` };
  });
  if (decision.is === "deny") log.info("a hook denies a tool call", facts);
  if (decision.is !== "abort") return decision;
  log.warn("a hook ends a turn", facts);
  throw new Failure("forbidden", "a rule of the owner ended this answer", {
    why: `the hook ${hook.name} ended the turn`,
  });
}

async function decisionIn({ hook, stage, caller, call, more }: Question): Promise<Decision> {
  const params = { ...placeOf(caller, stage), ...call, ...more };
  const decision = decisionOf(stage, await hook.ask(stage, params, caller.signal));
  if (!("reason" in decision)) return decision;
  return { ...decision, reason: truncate(decision.reason, MAX_REASON) };
}

/** Whether an error is ignored: the settings of the hook do not name this stage, so it need not support it. */
function isExcused(hook: Hook, stage: HookStage, { kind }: HookError): boolean {
  return !hook.stages.has(stage) && (kind === "error" || kind === "slow");
}

/** The caller in the names of Go PicoClaw, where an MQTT client is the chat `mqtt:<client>`. */
function placeOf(caller: Caller, stage: HookStage) {
  const { client, channel = "mqtt", isRemote = false } = caller;
  const place = isRemote
    ? { channel, chat_id: `mqtt:${client}` }
    : { channel: "cli", chat_id: "direct" };
  const meta = { AgentID: "main", SessionKey: ownerOf(caller), TracePath: TRACE[stage] };
  return {
    meta: { ...meta, Source: "runTurn" },
    context: { inbound: { ...place, chat_type: "direct", sender_id: client } },
    ...place,
  };
}

function resultOf(text: string) {
  const is_error = text.startsWith("error: ");
  return { for_llm: text, silent: false, is_error, async: false };
}

function denial(who: string, reason: string): Verdict {
  const answer = `error: tool execution denied by ${who}${reason === "" ? "" : `: ${reason}`}`;
  return { answer, isDenied: true };
}

function withheld(reason: string): string {
  return `error: the tool has run, but its result is withheld: hook ${reason}`;
}

/** The actions of both stages. In Go PicoClaw a missing action means `continue`. */
const CONTINUING: ReadonlySet<unknown> = new Set(["", "continue", "modify"]);
const ABORTING: ReadonlySet<unknown> = new Set(["abort_turn", "hard_abort"]);

/** Reads the answer of a hook's process. Throws a `HookError` if it is invalid, which denies too. */
function decisionOf(stage: HookStage, result: unknown): Decision {
  if (!isObject(result)) throw new HookError("nonsense", "its answer has no result");
  if (stage === "approve_tool") return approvalOf(result);
  const isBefore = stage === "before_tool";
  const action = at(result, "action") ?? "";
  if (CONTINUING.has(action)) {
    return { is: "continue", ...(isBefore ? changedCall(result) : changedResult(result)) };
  }
  if (ABORTING.has(action)) return { is: "abort" };
  if (isBefore && action === "deny_tool") return { is: "deny", reason: textAt(result, "reason") };
  if (isBefore && action === "respond") return respond(result);
  throw new HookError("nonsense", `its action is none of ${stage}`);
}

function approvalOf(result: object): Decision {
  const approved = at(result, "approved") ?? false;
  if (approved === true) return { is: "continue" };
  if (approved === false) return { is: "deny", reason: textAt(result, "reason") };
  throw new HookError("nonsense", "approved is neither true nor false");
}

function respond(result: object): Decision {
  const text = toolResult(at(result, "result"));
  if (text === undefined) throw new HookError("nonsense", "it responds without a result");
  return { is: "respond", text };
}

function changedCall(result: object): { readonly call?: Call } {
  const call = at(result, "call") ?? undefined;
  if (call === undefined) return {};
  const tool = textAt(call, "tool");
  const words = at(call, "arguments") ?? {};
  if (tool === "" || !isObject(words)) {
    throw new HookError("nonsense", "the call in its answer has no tool, or no arguments");
  }
  return { call: { tool, arguments: { ...words } } };
}

function changedResult(result: object): { readonly text?: string } {
  const found = at(at(result, "result"), "result") ?? undefined;
  const text = toolResult(found);
  if (found !== undefined && text === undefined) {
    throw new HookError("nonsense", "the result in its answer has no for_llm");
  }
  return text === undefined ? {} : { text };
}

/** Go PicoClaw's `ToolResult` as the text of a tool: an error begins with `error: `. */
function toolResult(found: unknown): string | undefined {
  const text = at(found, "for_llm");
  if (typeof text !== "string") return undefined;
  const isMarked = at(found, "is_error") !== true || text.startsWith("error: ");
  return isMarked ? text : `error: ${text}`;
}
