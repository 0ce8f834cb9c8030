import { Buffer } from "node:buffer";
import { imageOf } from "../../../base/images.ts";
import { prefixOf } from "../../../base/truncate.ts";
import { at, isObject, listAt, textAt } from "../../../base/unknown.ts";
import type { CallContext } from "../contract.ts";

/** Bytes of an image. Anthropic takes no more than 5 MB of base64. */
const MAX_IMAGE = 3 * 2 ** 20;
/** Parts of a result that are read. */
const MAX_PARTS = 200;
/** Characters of a type, a name or an address in a note. */
const MAX_NOTE = 200;

/**
 * The result of a server's tool as text for the model, which frames it as data; images are shown. `most` bounds each
 * part, and the caller bounds the whole.
 */
export async function resultText(
  result: unknown,
  most: number,
  { showImage }: Pick<CallContext, "showImage">,
): Promise<string> {
  const content = listAt(result, "content");
  const parts: string[] = [];
  for (const part of content.slice(0, MAX_PARTS)) {
    parts.push(prefixOf(await partText(part, showImage), most + 1));
  }
  if (content.length > MAX_PARTS) parts.push(`[${content.length - MAX_PARTS} more parts]`);
  const structured = at(result, "structuredContent");
  // Servers repeat it as text for clients that do not know it, but not all of them do.
  if (
    structured !== undefined &&
    !isRepeated(structured, parts.join("\n").slice(0, MAX_SEARCHED))
  ) {
    parts.push(prefixOf(JSON.stringify(structured), most + 1));
  }
  const text = parts.join("\n");
  return at(result, "isError") === true ? `error: ${text || "the tool failed"}` : text;
}

/** Values of a structured result that are looked for in its text, and characters in which they are. */
const MAX_VALUES = 200;
const MAX_SEARCHED = 100_000;

/** Whether a text repeats a structured result: it holds its plain values as words, the first of many. */
function isRepeated(structured: unknown, text: string): boolean {
  if (text === "") return false;
  const rest: unknown[] = [structured];
  for (let count = 0; rest.length > 0 && count < MAX_VALUES; count += 1) {
    const value = rest.shift();
    if (typeof value === "object" && value !== null) {
      const inner: readonly unknown[] = Object.values(value);
      rest.push(...inner.slice(0, MAX_VALUES));
    } else if (isPlain(value)) {
      const quoted = JSON.stringify(value).replaceAll(/^"|"$/g, "");
      if (!hasWord(text, String(value)) && !hasWord(text, quoted)) return false;
    }
  }
  return true;
}

function isPlain(value: unknown): value is string | number | boolean {
  return ["string", "number", "boolean"].includes(typeof value);
}

const LETTER = /[\p{L}\p{N}_]/u;

/** Whether a text has a word, and not only as a part of another: 5 is none of 15. */
function hasWord(text: string, word: string): boolean {
  if (word === "") return true;
  for (let from = text.indexOf(word); from !== -1; from = text.indexOf(word, from + word.length)) {
    const isPart = [text.charAt(from - 1), text.charAt(from + word.length)].some((one) =>
      LETTER.test(one),
    );
    if (!isPart) return true;
  }
  return false;
}

async function partText(part: unknown, showImage: CallContext["showImage"]): Promise<string> {
  switch (textAt(part, "type")) {
    case "text":
      return textAt(part, "text");
    case "image":
      return await imageText(textAt(part, "data"), showImage);
    case "audio":
      return `[audio: ${noteOf(textAt(part, "mimeType"))}, which cannot be played]`;
    case "resource_link":
      return `[resource ${noteOf(textAt(part, "name"))}: ${noteOf(textAt(part, "uri"))}]`;
    case "resource":
      return await resourceText(at(part, "resource"), showImage);
    default:
      return "[a part of a kind that is not known here]";
  }
}

async function imageText(data: string, showImage: CallContext["showImage"]): Promise<string> {
  if (data.length > (MAX_IMAGE * 4) / 3) {
    return `[an image that is too large to be shown: the most is ${MAX_IMAGE} bytes]`;
  }
  const image = imageOf(Buffer.from(data, "base64"));
  if (image === undefined) return "[an image of a kind that cannot be shown]";
  if (showImage === undefined) return "[an image, which no model sees here]";
  showImage(image);
  const { describeImage } = await import("../../../base/image-note.ts");
  return `[${describeImage(image)}; it is shown with this result, and only while this question is answered]`;
}

async function resourceText(
  resource: unknown,
  showImage: CallContext["showImage"],
): Promise<string> {
  const uri = noteOf(textAt(resource, "uri"));
  if (isObject(resource) && typeof resource["text"] === "string") {
    return `[resource ${uri}]\n${resource["text"]}`;
  }
  const type = textAt(resource, "mimeType");
  if (!type.startsWith("image/")) return `[resource ${uri}: ${noteOf(type)}, which is not text]`;
  return `[resource ${uri}] ${await imageText(textAt(resource, "blob"), showImage)}`;
}

function noteOf(text: string): string {
  return prefixOf(text, MAX_NOTE) || "unnamed";
}
