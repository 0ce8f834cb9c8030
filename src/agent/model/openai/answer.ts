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
    // Only `[DONE]` says so, which is no JSON.
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

/** Text as it is, or as a list of parts of which some are text (others are thinking). */
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

/** Puts the tool calls of a streamed answer together from their pieces. */
interface CallCollector {
  /** Takes the `tool_calls` of one delta (or of a whole message). */
  take(delta: unknown): void;
  /** In the order in which the calls began; each has an id of its own and a name. */
  end(): ToolCall[];
}

/**
 * Servers differ: OpenAI numbers the calls and interleaves their pieces, others leave the index out
 * or send 0 for each and tell the calls apart by id alone, some send arguments as an object.
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

/** Keeps a model's inline thinking out of its answer. */
interface ThoughtFilter {
  /** What of this piece belongs to the answer; the beginning is held back while it may become a tag. */
  take(piece: string): string;
  /** What was held back and turned out to be text. */
  end(): string;
}

const TAGS = [
  { open: "<think>", close: "</think>" },
  { open: "<thinking>", close: "</thinking>" },
];

/** Blanks in front of an answer beyond which no tag is looked for: they are an answer of blanks. */
const MAX_BLANKS = 4096;

/**
 * Takes `<think>…</think>` (and `<thinking>`) off the beginning of an answer, in whatever pieces it
 * comes, with the blanks around it. A tag later in the text is the model's own words and stays.
 */
export function createThoughtFilter(): ThoughtFilter {
  let take = begin;
  /** What is held back: blanks, and behind them what may become a tag. */
  let [blanks, held] = ["", ""];
  let close = "";
  return { take: (piece) => take(piece), end: () => (take === begin ? blanks + held : "") };

  /** Looks at each blank once: nothing says that anything else will come. */
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
