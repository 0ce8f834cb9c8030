import type { ModelFault } from "../fault.ts";

/** How an answer is asked for: as a stream with its usage, as a stream, or in one piece. */
export interface Streaming {
  /** The fields of the next request. */
  readonly fields: () => Readonly<Record<string, unknown>>;
  /** Whether a refusal was about one of these fields in a body: the next requests are without it. */
  readonly adapts: (refusal: ModelFault, body: Readonly<Record<string, unknown>>) => boolean;
}

export interface StreamingOptions {
  readonly withUsage: boolean;
  /** Fields that somebody insists on: they are in every body. */
  readonly insisted: Readonly<Record<string, unknown>>;
}

/** A server that refuses a field is asked without from then on, be several questions under way. */
export function createStreaming({ withUsage, insisted }: StreamingOptions): Streaming {
  let [isStreamed, hasOptions] = [true, withUsage];
  return {
    fields: () => ({
      ...(isStreamed && { stream: true }),
      ...(isStreamed && hasOptions && { stream_options: { include_usage: true } }),
    }),
    adapts(refusal, body) {
      if (refusal.kind !== "refused" || !REFUSALS.has(refusal.status ?? 0)) return false;
      const isSent = (name: string): boolean => name in body && !(name in insisted);
      if (isSent("stream_options") && isAbout(refusal, "stream_options", OPTIONS)) {
        hasOptions = false;
        return true;
      }
      if (!isSent("stream") || !isAbout(refusal, "stream", STREAM)) return false;
      isStreamed = false;
      return true;
    },
  };
}

/** What servers answer to a parameter that they do not know (FastAPI: 422). */
const REFUSALS: ReadonlySet<number> = new Set([400, 422]);
const OPTIONS = /\bstream_options\b/i;
/** The field by its name, or streaming as what is not there. */
const DENIED = "(?:not|disabled|extra|un(?:supported|known|expected|recognized|available))";
const STREAM = new RegExp(
  `["'\`]stream["'\`]|\\bstream(?:ing)?\\b[^.]{0,60}\\b${DENIED}\\b|\\b${DENIED}\\b[^.]{0,60}\\bstream(?:ing)?\\b`,
  "i",
);
function isAbout({ parameter, message }: ModelFault, name: string, words: RegExp): boolean {
  return parameter === undefined ? words.test(message) : parameter.split(".")[0] === name;
}
