import { TextDecoder } from "node:util";

/** Bytes at the start of a page in which it may name its encoding (HTML, 13.2.3.2, wants 1024). */
const HEAD = 4096;

/** The text of a page: its encoding is what the header says, a byte order mark, or the page itself. */
export function textOf(bytes: Uint8Array, type: string, isWhole: boolean): string {
  const named = markOf(bytes) ?? charsetIn(type) ?? charsetInside(bytes);
  const decoder = named === undefined ? undefined : decoderOf(named);
  if (decoder !== undefined) return decoder.decode(bytes);
  try {
    // A body that was cut may end within a character.
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: !isWhole });
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

function markOf(bytes: Uint8Array): string | undefined {
  const [first, second, third] = bytes;
  if (first === 0xef && second === 0xbb && third === 0xbf) return "utf-8";
  if (first === 0xff && second === 0xfe) return "utf-16le";
  return first === 0xfe && second === 0xff ? "utf-16be" : undefined;
}

/** `text/html; charset=utf-8`, `<meta charset="…">`, `<?xml encoding="…"?>`. */
function charsetIn(text: string): string | undefined {
  return /(?:charset|<\?xml[^>]{0,100}\sencoding)\s*=\s*["']?\s*([\w:.-]{2,40})/i.exec(text)?.[1];
}

function charsetInside(bytes: Uint8Array): string | undefined {
  const start = new TextDecoder("latin1").decode(bytes.subarray(0, HEAD));
  const named = /<(?:meta|\?xml)\b/i.test(start) ? charsetIn(start) : undefined;
  // It was read as ASCII so far, so it cannot be UTF-16, whatever it says (HTML, 13.2.3.3).
  return named !== undefined && /^utf-?16/i.test(named) ? "utf-8" : named;
}

function decoderOf(name: string): TextDecoder | undefined {
  try {
    return new TextDecoder(name);
  } catch {
    return undefined;
  }
}
