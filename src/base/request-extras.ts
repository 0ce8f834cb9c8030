import { formatOf } from "./answer-format.ts";
import type { RequestExtras } from "./contract.ts";
import { imagesOf } from "./images.ts";

/** The address of what the program sends to a client by itself: the channel answers on the client's usual topic. */
export const PUSH_ADDRESS = "push";

/**
 * The extras of a request, from its fields as they came; undefined if it has none. A string says what is wrong
 * with them.
 */
export function extrasOf(format: unknown, images: unknown): RequestExtras | string | undefined {
  const readFormat = format === undefined ? undefined : formatOf(format);
  if (typeof readFormat === "string") return readFormat;
  const readImages = images === undefined ? [] : imagesOf(images);
  if (typeof readImages === "string") return readImages;
  if (readFormat === undefined && readImages.length === 0) return undefined;
  return {
    ...(readFormat && { format: readFormat }),
    ...(readImages.length > 0 && { images: readImages }),
  };
}

interface Content {
  readonly text: string;
  readonly extras?: RequestExtras | undefined;
}

/** UTF-16 units of what a request holds in memory. */
export function contentLength({ text, extras }: Content): number {
  if (extras === undefined) return text.length;
  const { format, images = [], pushed } = extras;
  const schema = format === undefined ? 0 : JSON.stringify(format.schema).length;
  const happened = pushed?.data?.text.length ?? 0;
  return images.reduce((length, { data }) => length + data.length, text.length + schema + happened);
}

/** The same request without its text and extras. */
export function withoutContent<R extends Content>(request: R): Omit<R, "extras"> {
  const { extras: _, ...rest } = request;
  return { ...rest, text: "" };
}
