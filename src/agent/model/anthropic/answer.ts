import type { ToolCall } from "../../contract.ts";
import { at, listAt, textAt } from "../../read.ts";
import { ModelFault } from "../fault.ts";
import { createTextKeeper, MAX_TEXT } from "../http/answer.ts";
import type { AnswerBuilder } from "../http/answer.ts";
import { createCallDrafts } from "../http/calls.ts";
import type { CallDraft } from "../http/calls.ts";
import { packed } from "../http/carrier.ts";
import { errorIn } from "../http/refusal.ts";
import { callBlock, textBlock } from "./request.ts";
import { createUsageCount } from "./usage.ts";

/** One block of the answer while it comes in. */
type Draft =
  | { readonly type: "text"; text: string }
  | { readonly type: "thinking"; thinking: string; signature: string }
  | { readonly type: "redacted_thinking"; readonly data: string }
  | { readonly type: "tool_use"; readonly call: CallDraft };

/** Stop reasons that mean: there was no room left. */
const CUT: ReadonlySet<string> = new Set(["max_tokens", "model_context_window_exceeded"]);

/** Builds one reply from the events of a message (or from a whole one); `by` is who its thinking is of. */
export function createMessageAnswer(by: string): AnswerBuilder {
  const { keep, text } = createTextKeeper();
  const calls = createCallDrafts();
  const drafts = new Map<unknown, Draft>();
  const usage = createUsageCount();
  let [stopReason, thoughts, ended] = ["", 0, false];

  const stop = (reason: string): void => {
    stopReason = reason || stopReason;
    if (reason === "refusal") throw new ModelFault("withheld", "stop_reason refusal");
  };
  const think = (piece: string): string => {
    thoughts += piece.length;
    if (thoughts > 2 * MAX_TEXT) throw new ModelFault("oversized", "the thinking is too long");
    return piece;
  };
  const begin = (index: unknown, block: unknown): string => {
    const draft = draftOf(block, (id, name) => calls.begin(id, name));
    if (draft === undefined) return "";
    drafts.set(index, draft);
    if (draft.type === "thinking") think(draft.thinking + draft.signature);
    if (draft.type === "redacted_thinking") think(draft.data);
    return draft.type === "text" ? keep(draft.text) : "";
  };
  const grow = (index: unknown, delta: unknown): string => {
    const draft = drafts.get(index);
    if (draft?.type === "tool_use") draft.call.add(textAt(delta, "partial_json"));
    if (draft?.type === "thinking") {
      draft.thinking += think(textAt(delta, "thinking"));
      draft.signature += think(textAt(delta, "signature"));
    }
    if (draft?.type !== "text") return "";
    const piece = keep(textAt(delta, "text"));
    draft.text += piece;
    return piece;
  };
  const takeWhole = (message: unknown): string => {
    usage.take(at(message, "usage"));
    const said = listAt(message, "content").map((block, index) => begin(index, block));
    stop(textAt(message, "stop_reason"));
    return said.join("");
  };

  return {
    get finished() {
      return stopReason !== "" || ended;
    },
    get ended() {
      return ended;
    },
    take(event) {
      const error = errorIn(event);
      if (error !== undefined) throw error;
      switch (textAt(event, "type")) {
        case "message":
          return takeWhole(event);
        case "message_start":
          return takeWhole(at(event, "message"));
        case "content_block_start":
          return begin(at(event, "index"), at(event, "content_block"));
        case "content_block_delta":
          return grow(at(event, "index"), at(event, "delta"));
        case "message_delta":
          usage.take(at(event, "usage"));
          stop(textAt(at(event, "delta"), "stop_reason"));
          return "";
        case "message_stop":
          ended = true;
          return "";
        default:
          // `ping`, `content_block_stop`, and whatever will be added: clients are told to ignore it.
          return "";
      }
    },
    rest: () => "",
    reply() {
      const toolCalls = calls.end();
      const reasoning = carrierOf([...drafts.values()], toolCalls, by);
      const counted = usage.total();
      return {
        text: text(),
        toolCalls,
        cut: CUT.has(stopReason),
        ...(reasoning === undefined ? {} : { reasoning }),
        ...(counted === undefined ? {} : { usage: counted }),
      };
    },
  };
}

function draftOf(
  block: unknown,
  beginCall: (id: string, name: string) => CallDraft,
): Draft | undefined {
  switch (textAt(block, "type")) {
    case "text":
      return { type: "text", text: textAt(block, "text") };
    case "thinking": {
      const [thinking, signature] = [textAt(block, "thinking"), textAt(block, "signature")];
      return { type: "thinking", thinking, signature };
    }
    case "redacted_thinking":
      return { type: "redacted_thinking", data: textAt(block, "data") };
    case "tool_use": {
      const call = beginCall(textAt(block, "id"), textAt(block, "name"));
      const input = at(block, "input");
      // A stream begins with an empty input and sends the real one in pieces.
      const isWhole = typeof input === "object" && input !== null && Object.keys(input).length > 0;
      if (isWhole) call.add(JSON.stringify(input));
      return { type: "tool_use", call };
    }
    default:
      return undefined;
  }
}

/**
 * The whole answer in its own order, where it thought before it called: the provider wants the blocks
 * back as they were, with their signatures. Undefined where there is nothing that it would miss.
 */
function carrierOf(
  drafts: readonly Draft[],
  toolCalls: readonly ToolCall[],
  by: string,
): string | undefined {
  const thought = drafts.some(({ type }) => type === "thinking" || type === "redacted_thinking");
  if (!thought || toolCalls.length === 0) return undefined;
  const left = [...toolCalls];
  const blocks = drafts.flatMap((draft) => {
    if (draft.type === "tool_use") {
      // Calls without a name are no calls, and are not among those that are left.
      const call = draft.call.name === "" ? undefined : left.shift();
      return call === undefined ? [] : [callBlock(call.id, call.name, call.arguments)];
    }
    if (draft.type === "text") return draft.text.trim() === "" ? [] : [textBlock(draft.text)];
    return draft.type === "thinking" && draft.signature === "" ? [] : [draft];
  });
  return packed(by, blocks);
}
