import type { Usage } from "../../../base/contract.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { ModelError } from "../errors.ts";
import { countOf, createTextBuffer, MAX_TEXT, createCallDrafts } from "../http/answer.ts";
import type { AnswerBuilder, CallDraft } from "../http/answer.ts";
import { errorIn } from "../http/error-response.ts";

/** Builds one reply from the chunks of a chat completion. */
export function createChatAnswer(): AnswerBuilder {
  const thoughts = createThoughtFilter();
  const calls = createCallCollector();
  const { append, text } = createTextBuffer();
  let reasoning = "";
  let finish = "";
  let usage: Usage | undefined;

  return {
    get finished() {
      return finish !== "";
    },
    // Only `[DONE]` ends it, which is no JSON.
    ended: false,
    take(chunk) {
      const error = errorIn(chunk);
      if (error !== undefined) throw error;
      usage = usageIn(chunk) ?? usage;
      const choice = listAt(chunk, "choices")[0];
      const delta = at(choice, "delta") ?? at(choice, "message");
      finish = textAt(choice, "finish_reason") || finish;
      if (finish === "content_filter")
        throw new ModelError("withheld", "finish_reason content_filter");
      if (finish === "error")
        throw new ModelError("refused", "finish_reason error", { status: 500 });
      calls.take(delta);
      const thought = textAt(delta, "reasoning_content") || textAt(delta, "reasoning");
      if (reasoning.length + thought.length <= MAX_TEXT) reasoning += thought;
      return append(thoughts.take(contentOf(at(delta, "content"))));
    },
    end: () => append(thoughts.end()),
    reply: () => ({
      text: text(),
      toolCalls: calls.end(),
      truncated: finish === "length",
      ...(reasoning === "" ? {} : { reasoning }),
      ...(usage === undefined ? {} : { usage }),
    }),
  };
}

/** Content is a text, or a list of parts: text, thinking and others. */
function contentOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .filter((part) => textAt(part, "type") === "text")
    .map((part) => textAt(part, "text"))
    .join("");
}

function usageIn(chunk: unknown): Usage | undefined {
  const usage = at(chunk, "usage");
  const inputTokens = at(usage, "prompt_tokens");
  const outputTokens = at(usage, "completion_tokens");
  if (typeof inputTokens !== "number" && typeof outputTokens !== "number") return undefined;
  return { inputTokens: countOf(inputTokens), outputTokens: countOf(outputTokens) };
}

/** Collects the tool calls of a streamed answer from their pieces. */
interface CallCollector {
  /** Takes the `tool_calls` of one delta (or of a whole message). */
  take(delta: unknown): void;
  /** The calls, in the order in which they began, each with a unique id and a name. */
  end(): ToolCall[];
}

/**
 * Servers differ: OpenAI numbers the calls and interleaves their pieces; others omit the index or always send
 * 0, so that only the ids differ; some send the arguments as an object.
 */
export function createCallCollector(): CallCollector {
  const drafts = createCallDrafts();
  const begun: { readonly index: unknown; readonly draft: CallDraft }[] = [];

  const draftFor = (piece: unknown): CallDraft => {
    const [index, id] = [at(piece, "index"), textAt(piece, "id")];
    const known = begun.findLast((call) => call.index === index)?.draft;
    const isNew = known === undefined || (id !== "" && known.id !== "" && known.id !== id);
    if (!isNew) return known;
    const draft = drafts.begin(id, "");
    begun.push({ index, draft });
    return draft;
  };

  return {
    take(delta) {
      for (const piece of listAt(delta, "tool_calls")) {
        const draft = draftFor(piece);
        draft.identify(textAt(piece, "id"), textAt(at(piece, "function"), "name"));
        draft.add(argumentsText(at(at(piece, "function"), "arguments")));
      }
    },
    end: () => drafts.end(),
  };
}

function argumentsText(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null ? JSON.stringify(value) : "";
}

/** Removes a model's inline thinking from its answer. */
interface ThoughtFilter {
  /** The part of this piece that belongs to the answer; holds the beginning back while it may become a tag. */
  take(piece: string): string;
  /** The text that was held back. */
  end(): string;
}

const TAGS = [
  { open: "<think>", close: "</think>" },
  { open: "<thinking>", close: "</thinking>" },
];

/** Blanks before an answer after which no tag is expected. */
const MAX_BLANKS = 4096;

/**
 * Removes `<think>…</think>` (and `<thinking>`) from the beginning of an answer, cut anywhere, with the blanks
 * around it. A tag later in the text is a part of the answer.
 */
export function createThoughtFilter(): ThoughtFilter {
  let take = begin;
  /** The held-back text: blanks, and after them a possible tag. */
  let [blanks, held] = ["", ""];
  let close = "";
  return { take: (piece) => take(piece), end: () => (take === begin ? blanks + held : "") };

  /** Looks at each blank once: a server may send nothing but blanks. */
  function begin(piece: string): string {
    const start = held === "" ? piece.trimStart() : held + piece;
    if (held === "") blanks += piece.slice(0, piece.length - start.length);
    held = start;
    const isOpen = TAGS.some(({ open }) => open.startsWith(start));
    if (isOpen && blanks.length <= MAX_BLANKS) return "";
    const tag = TAGS.find(({ open }) => start.startsWith(open));
    if (tag === undefined || blanks.length > MAX_BLANKS) {
      take = pass;
      return blanks + start;
    }
    take = think;
    close = tag.close;
    held = "";
    return think(start.slice(tag.open.length));
  }

  function think(piece: string): string {
    held += piece;
    const end = held.indexOf(close);
    if (end === -1) {
      held = held.slice(-close.length);
      return "";
    }
    take = skipBlanks;
    return skipBlanks(held.slice(end + close.length));
  }

  function skipBlanks(piece: string): string {
    const text = piece.trimStart();
    if (text !== "") take = pass;
    return text;
  }
}

function pass(piece: string): string {
  return piece;
}
