import { at, textAt } from "../../base/unknown.ts";
import type { HookStage } from "../../config/contract.ts";
import type { HookedCall } from "./contract.ts";
import { HookError } from "./errors.ts";

/** A call as it may run. */
export type Call = Pick<HookedCall, "tool" | "arguments">;

/** What a hook said; reasons are its own words. */
export type Decision =
  /** `call` and `text` are there where the hook changed the call or its result. */
  | { readonly is: "continue"; readonly call?: Call; readonly text?: string }
  /** The result in place of the tool's. */
  | { readonly is: "respond"; readonly text: string }
  | { readonly is: "deny"; readonly reason: string }
  | { readonly is: "abort"; readonly reason: string };

/** The answer of a hook's process. Throws a `HookError` where it is none: that denies, too. */
export function decisionOf(stage: HookStage, result: unknown): Decision {
  if (!isObject(result)) throw new HookError("nonsense", "its answer has no result");
  if (stage === "approve_tool") return approvalOf(result);
  // Go PicoClaw takes a missing action for this one.
  const action = at(result, "action") ?? "";
  const reading = READINGS[stage].get(action === "" ? "continue" : action);
  if (reading === undefined) throw new HookError("nonsense", `its action is none of ${stage}`);
  return reading(result);
}

function approvalOf(result: object): Decision {
  const approved = at(result, "approved") ?? false;
  if (approved === true) return { is: "continue" };
  if (approved === false) return { is: "deny", reason: textAt(result, "reason") };
  throw new HookError("nonsense", "approved is neither true nor false");
}

type Reading = (result: object) => Decision;

const abort: Reading = (result) => ({ is: "abort", reason: textAt(result, "reason") });
const beforeTool: Reading = (result) => ({ is: "continue", ...changedCall(result) });
const afterTool: Reading = (result) => ({ is: "continue", ...changedResult(result) });

/** By action. */
const READINGS: Readonly<Record<"before_tool" | "after_tool", ReadonlyMap<unknown, Reading>>> = {
  before_tool: new Map<unknown, Reading>([
    ["continue", beforeTool],
    ["modify", beforeTool],
    ["deny_tool", (result) => ({ is: "deny", reason: textAt(result, "reason") })],
    ["respond", respond],
    ["abort_turn", abort],
    ["hard_abort", abort],
  ]),
  after_tool: new Map<unknown, Reading>([
    ["continue", afterTool],
    ["modify", afterTool],
    ["abort_turn", abort],
    ["hard_abort", abort],
  ]),
};

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

/** Go PicoClaw's `ToolResult` as a tool's text: what is no success begins with `error: `. */
function toolResult(found: unknown): string | undefined {
  const text = at(found, "for_llm");
  if (typeof text !== "string") return undefined;
  const isMarked = at(found, "is_error") !== true || text.startsWith("error: ");
  return isMarked ? text : `error: ${text}`;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
