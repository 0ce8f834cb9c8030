import type { Usage } from "../../../base/contract.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { ModelError } from "../errors.ts";
import type { AnswerBuilder, CallDraft } from "../http/answer.ts";
import { createTextBuffer, MAX_TEXT, countOf, createCallDrafts } from "../http/answer.ts";
import { errorIn } from "../http/error-response.ts";
import { wrapReasoning } from "../http/reasoning-envelope.ts";
import { callBlock, textBlock } from "./request.ts";

/** Stop reasons for the end of the tokens. */
const CUT: ReadonlySet<string> = new Set(["max_tokens", "model_context_window_exceeded"]);

/** Builds one reply from the events of a message, or from a whole message; `by` names the model that thinks. */
export function createMessageAnswer(by: string): AnswerBuilder {
  const blocks = createBlockCollector(by);
  const usage = createUsageCount();
  let [stopReason, ended] = ["", false];

  const stop = (reason: string): void => {
    stopReason = reason || stopReason;
    if (reason === "refusal") throw new ModelError("withheld", "stop_reason refusal");
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
      const type = textAt(event, "type");
      // An answer without events is one whole message; `message_start` begins a streamed one.
      const message = type === "message" ? event : at(event, "message");
      usage.take(at(message, "usage"));
      usage.take(at(event, "usage"));
      const text = textOf(type, event, blocks);
      stop(textAt(message, "stop_reason") || textAt(at(event, "delta"), "stop_reason"));
      ended ||= type === "message_stop";
      return text;
    },
    end: () => "",
    reply() {
      const counted = usage.total();
      return {
        text: blocks.text(),
        ...blocks.end(),
        truncated: CUT.has(stopReason),
        ...(counted === undefined ? {} : { usage: counted }),
      };
    },
  };
}

function textOf(type: string, event: unknown, blocks: BlockCollector): string {
  switch (type) {
    case "message":
    case "message_start": {
      const whole = listAt(type === "message" ? event : at(event, "message"), "content");
      return whole.map((block, index) => blocks.begin(index, block)).join("");
    }
    case "content_block_start":
      return blocks.begin(at(event, "index"), at(event, "content_block"));
    case "content_block_delta":
      return blocks.grow(at(event, "index"), at(event, "delta"));
    default:
      // `ping`, `content_block_stop`, and future events: clients must ignore them.
      return "";
  }
}

/** One block of the answer while it is received. */
type Draft =
  | { readonly type: "text"; text: string }
  | { readonly type: "thinking"; thinking: string; signature: string }
  | { readonly type: "redacted_thinking"; readonly data: string }
  | { readonly type: "tool_use"; readonly call: CallDraft };

/** Collects the content blocks of a message. */
interface BlockCollector {
  /** Takes the start of a block, or a whole block; returns its text. */
  begin(index: unknown, block: unknown): string;
  /** Takes the next piece of a block; returns its text. */
  grow(index: unknown, delta: unknown): string;
  /** All text so far. */
  readonly text: () => string;
  /** The calls, and the envelope of the thinking before them if there is any. */
  end(): { readonly toolCalls: readonly ToolCall[]; readonly reasoning?: string };
}

/** Blocks of one answer: an empty one needs memory as well. */
const MAX_BLOCKS = 1024;

/** `by` names the model in the envelope. */
export function createBlockCollector(by: string): BlockCollector {
  const { append, text } = createTextBuffer();
  const calls = createCallDrafts();
  const drafts = new Map<unknown, Draft>();
  let thoughts = 0;

  const think = (piece: string): string => {
    thoughts += piece.length;
    if (thoughts > MAX_TEXT) throw new ModelError("oversized", "the thinking is too long");
    return piece;
  };

  return {
    begin(index, block) {
      const draft = draftOf(block, (id, name) => calls.begin(id, name));
      if (draft === undefined) return "";
      drafts.set(index, draft);
      if (drafts.size > MAX_BLOCKS) throw new ModelError("oversized", "too many blocks");
      if (draft.type === "thinking") think(draft.thinking + draft.signature);
      if (draft.type === "redacted_thinking") think(draft.data);
      return draft.type === "text" ? append(draft.text) : "";
    },
    grow(index, delta) {
      const draft = drafts.get(index);
      if (draft?.type === "tool_use") draft.call.add(textAt(delta, "partial_json"));
      if (draft?.type === "thinking") {
        draft.thinking += think(textAt(delta, "thinking"));
        draft.signature += think(textAt(delta, "signature"));
      }
      if (draft?.type !== "text") return "";
      const piece = append(textAt(delta, "text"));
      draft.text += piece;
      return piece;
    },
    text,
    end() {
      const toolCalls = calls.end();
      const reasoning = envelopeOf([...drafts.values()], toolCalls, by);
      return { toolCalls, ...(reasoning === undefined ? {} : { reasoning }) };
    },
  };
}

function draftOf(
  block: unknown,
  beginCall: (id: string, name: string) => CallDraft,
): Draft | undefined {
  const type = textAt(block, "type");
  switch (type) {
    case "text":
      return { type, text: textAt(block, "text") };
    case "thinking":
      return { type, thinking: textAt(block, "thinking"), signature: textAt(block, "signature") };
    case "redacted_thinking":
      return { type, data: textAt(block, "data") };
    case "tool_use": {
      const call = beginCall(textAt(block, "id"), textAt(block, "name"));
      const input = at(block, "input");
      // A stream begins with an empty input and sends the input in pieces.
      const isWhole = typeof input === "object" && input !== null && Object.keys(input).length > 0;
      if (isWhole) call.add(JSON.stringify(input));
      return { type, call };
    }
    default:
      return undefined;
  }
}

/**
 * The whole answer in its order, if it has signed thinking before tool calls: the provider requires the
 * blocks back unchanged, with their signatures. Undefined otherwise.
 */
function envelopeOf(
  drafts: readonly Draft[],
  toolCalls: readonly ToolCall[],
  by: string,
): string | undefined {
  const isSigned = drafts.some(
    (draft) =>
      draft.type === "redacted_thinking" || (draft.type === "thinking" && draft.signature !== ""),
  );
  if (!isSigned || toolCalls.length === 0) return undefined;
  const left = [...toolCalls];
  const blocks = drafts.flatMap((draft) => {
    if (draft.type === "tool_use") {
      // Calls without a name were dropped, so they are not in `left`.
      const call = draft.call.name === "" ? undefined : left.shift();
      return call === undefined ? [] : [callBlock(call.id, call.name, call.arguments)];
    }
    if (draft.type === "text") return draft.text.trim() === "" ? [] : [textBlock(draft.text)];
    return draft.type === "thinking" && draft.signature === "" ? [] : [draft];
  });
  return wrapReasoning(by, blocks);
}

/** Adds up the token counts in the events of a message. */
interface UsageCount {
  take(usage: unknown): void;
  /** Undefined without any count. */
  total(): Usage | undefined;
}

/** Tokens read from or written to a cache are not in `input_tokens`, but are input as well. */
const INPUT = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];

/** Each event has the totals so far, of some of the fields. */
function createUsageCount(): UsageCount {
  const counts = new Map<string, number>();
  return {
    take(usage) {
      for (const field of [...INPUT, "output_tokens"]) {
        const count = at(usage, field);
        if (typeof count === "number") {
          counts.set(field, Math.max(counts.get(field) ?? 0, countOf(count)));
        }
      }
    },
    total() {
      if (counts.size === 0) return undefined;
      const inputTokens = INPUT.reduce((sum, field) => sum + (counts.get(field) ?? 0), 0);
      return { inputTokens, outputTokens: counts.get("output_tokens") ?? 0 };
    },
  };
}
