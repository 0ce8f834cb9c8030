import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { ModelError } from "../errors.ts";
import { createCallDrafts, createTextBuffer, MAX_TEXT } from "../http/answer.ts";
import type { CallDraft } from "../http/answer.ts";
import { validToolName } from "../http/normalize-history.ts";
import { objectText } from "../http/openai-request.ts";
import { wrapReasoning } from "../http/reasoning-envelope.ts";

/** An item of a request or of a response. */
export type Item = Readonly<Record<string, unknown>>;

export function callItem({ id, name, arguments: words }: ToolCall): Item {
  return {
    type: "function_call",
    call_id: id,
    name: validToolName(name),
    arguments: objectText(words),
  };
}

/** One item of the answer while it is received. */
type Draft =
  | { readonly type: "message"; readonly id: string; readonly phase: unknown; text: string }
  | {
      readonly type: "function_call";
      readonly id: string;
      readonly call: CallDraft;
      hasArguments: boolean;
    }
  | { readonly type: "reasoning"; readonly id: string; summary: unknown; encrypted: string };

/** Items of one answer: an empty one needs memory as well. */
const MAX_ITEMS = 1024;

/** Stands between two messages of one answer, such as a comment and the final one. */
const GAP = "\n\n";

/** Collects the output items of a response. */
export class ItemCollector {
  readonly #buffer = createTextBuffer();
  readonly #calls = createCallDrafts();
  readonly #drafts: Draft[] = [];
  /** The newest item of each index. */
  readonly #byIndex = new Map<unknown, Draft>();
  /** Characters of encrypted reasoning and of its summaries. */
  #thoughts = 0;
  #hasText = false;

  /** Takes an event; returns its text. */
  take(event: unknown): string {
    const [index, delta] = [at(event, "output_index"), textAt(event, "delta")];
    const id = textAt(event, "item_id");
    switch (textAt(event, "type")) {
      case "response.output_item.added":
        this.#begin(index, at(event, "item"));
        return "";
      case "response.output_text.delta":
      case "response.refusal.delta":
        return this.#say(this.#draftAt(index, { type: "message", id }), delta);
      case "response.function_call_arguments.delta":
        this.#addArguments(this.#known(index, { type: "function_call", id }), delta);
        return "";
      case "response.output_item.done":
        return this.#finish(index, at(event, "item"));
      default:
        // Ends of parts, summaries of reasoning, and future events.
        return "";
    }
  }

  /** Takes the whole output, unless its text or its calls came before; returns its text. */
  takeWhole(output: readonly unknown[]): string {
    const hasCall = this.#drafts.some((draft) => "hasArguments" in draft && draft.hasArguments);
    if (this.#hasText || hasCall) return "";
    return output.map((item, index) => this.#finish(index, item)).join("");
  }

  /** The text and the calls, and the envelope of the reasoning before them if there is any; `by` owns it. */
  end(by: string) {
    const toolCalls = this.#calls.end();
    const reasoning = envelopeOf(this.#drafts, toolCalls, by);
    const text = this.#buffer.text();
    return { text, toolCalls, ...(reasoning !== undefined && { reasoning }) };
  }

  #begin(index: unknown, item: unknown): Draft | undefined {
    const draft = draftOf(item, (id, name) => this.#calls.begin(id, name));
    if (draft === undefined) return undefined;
    this.#byIndex.set(index, draft);
    this.#drafts.push(draft);
    if (this.#drafts.length > MAX_ITEMS) throw new ModelError("oversized", "too many items");
    return draft;
  }

  /** The known draft of an item, or a new one. */
  #draftAt(index: unknown, item: unknown): Draft | undefined {
    return this.#known(index, item) ?? this.#begin(index, item);
  }

  /** The draft of an item: servers give several items one index, others one item an id with each event. */
  #known(index: unknown, item: unknown): Draft | undefined {
    const [type, id] = [textAt(item, "type"), textAt(item, "id")];
    const newest = this.#byIndex.get(index);
    const indexed = newest?.type === type ? newest : undefined;
    const isNew = newest === undefined && index !== undefined;
    if (isNew || id === "" || indexed?.id === id) return indexed;
    return this.#drafts.findLast((draft) => draft.type === type && draft.id === id) ?? indexed;
  }

  /** Takes a whole item, of which pieces may have come before; returns the text that did not. */
  #finish(index: unknown, item: unknown): string {
    const draft = this.#draftAt(index, item);
    if (draft?.type === "message")
      return draft.text === "" ? this.#say(draft, contentOf(item)) : "";
    if (draft?.type === "reasoning") this.#think(draft, item);
    if (draft?.type === "function_call") {
      draft.call.identify(callIdOf(item), textAt(item, "name"));
      if (!draft.hasArguments) this.#addArguments(draft, textAt(item, "arguments"));
    }
    return "";
  }

  #say(draft: Draft | undefined, piece: string): string {
    if (draft?.type !== "message" || piece === "") return "";
    const gap = this.#hasText && draft.text === "" ? GAP : "";
    this.#hasText = true;
    draft.text += piece;
    return this.#buffer.append(gap + piece);
  }

  #addArguments(draft: Draft | undefined, piece: string): void {
    if (draft?.type !== "function_call" || piece === "") return;
    draft.call.add(piece);
    draft.hasArguments = true;
  }

  #think(draft: Extract<Draft, { type: "reasoning" }>, item: unknown): void {
    if (draft.encrypted !== "") return;
    draft.encrypted = textAt(item, "encrypted_content");
    draft.summary = listAt(item, "summary");
    this.#thoughts += draft.encrypted.length + JSON.stringify(draft.summary).length;
    if (this.#thoughts > MAX_TEXT) throw new ModelError("oversized", "the reasoning is too long");
  }
}

function draftOf(
  item: unknown,
  beginCall: (id: string, name: string) => CallDraft,
): Draft | undefined {
  const [type, id] = [textAt(item, "type"), textAt(item, "id")];
  switch (type) {
    case "message":
      return { type, id, phase: at(item, "phase"), text: "" };
    case "function_call":
      return {
        type,
        id,
        call: beginCall(callIdOf(item), textAt(item, "name")),
        hasArguments: false,
      };
    case "reasoning":
      return { type, id, summary: [], encrypted: "" };
    default:
      return undefined;
  }
}

function callIdOf(item: unknown): string {
  return textAt(item, "call_id") || textAt(item, "id");
}

/** The text of a message's parts; a refusal is what the model says. */
function contentOf(item: unknown): string {
  return listAt(item, "content")
    .map((part) => textAt(part, "text") || textAt(part, "refusal"))
    .join("");
}

/**
 * The whole answer in its order, if it has encrypted reasoning before tool calls: the model requires the items
 * back unchanged to go on with its thought. Undefined otherwise.
 */
function envelopeOf(
  drafts: readonly Draft[],
  toolCalls: readonly ToolCall[],
  by: string,
): string | undefined {
  const isEncrypted = drafts.some((draft) => draft.type === "reasoning" && draft.encrypted !== "");
  if (!isEncrypted || toolCalls.length === 0) return undefined;
  const left = [...toolCalls];
  const items = drafts.flatMap((draft): Item[] => {
    const { type, id } = draft;
    if (type === "message") return draft.text === "" ? [] : [messageItem(draft)];
    if (type === "reasoning") {
      const { summary, encrypted: encrypted_content } = draft;
      return encrypted_content === "" ? [] : [{ type, id, summary, encrypted_content }];
    }
    // Calls without a name were dropped, so they are not in `left`.
    const call = draft.call.name === "" ? undefined : left.shift();
    return call === undefined ? [] : [{ ...(id !== "" && { id }), ...callItem(call) }];
  });
  return wrapReasoning(by, items);
}

function messageItem({ type, id, phase, text }: Extract<Draft, { type: "message" }>): Item {
  return {
    type,
    id,
    role: "assistant",
    status: "completed",
    content: [{ type: "output_text", text, annotations: [] }],
    ...(typeof phase === "string" && { phase }),
  };
}
