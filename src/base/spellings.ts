/** Bytes; of a shorter secret base64 is looked for as a whole alone: a part of it would be too common. */
const LEAST_WITHIN = 8;

/** All that a secret can look like: as it is, and in JSON, base64, hexadecimal and URL encoding. */
export function spellingsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  const hex = bytes.toString("hex");
  const all = [secret, ...jsonOf(secret), ...urlOf(secret), ...base64Of(bytes), hex];
  return [...new Set([...all, hex.toUpperCase()])];
}

/**
 * In a JSON string (RFC 8259 section 7), in one within one, and as some write it: with ASCII alone, without
 * what HTML would read, with each slash escaped.
 */
function jsonOf(secret: string): string[] {
  const once = jsonTextOf(secret);
  const twice = jsonTextOf(once);
  const ascii = once.replaceAll(/[^ -~]/g, escapeOf);
  const html = once.replaceAll(/[<>&\u2028\u2029]/g, escapeOf);
  const slashed = once.replaceAll("/", String.raw`\/`);
  return [once, twice, ascii, jsonTextOf(ascii), html, slashed];
}

function escapeOf(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function jsonTextOf(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/** RFC 3986 section 2 and HTML's forms, by what each of the usual encoders leaves as it is. */
function urlOf(secret: string): string[] {
  const text = secret.toWellFormed();
  const component = encodeURIComponent(text);
  const strict = component.replaceAll(/[!'()*]/g, (mark) => {
    return `%${mark.charCodeAt(0).toString(16).toUpperCase()}`;
  });
  const form = new URLSearchParams([["", text]]).toString().slice(1);
  return [component, strict, encodeURI(text), form].flatMap((encoded) => [
    encoded,
    encoded.replaceAll(/%[\dA-F]{2}/g, (code) => code.toLowerCase()),
  ]);
}

/** RFC 4648 sections 4 and 5, without padding. */
function base64Of(bytes: Buffer): string[] {
  const whole = bytes.toString("base64").replaceAll("=", "");
  const parts = bytes.length < LEAST_WITHIN ? [] : [0, 1, 2].map((before) => within(bytes, before));
  const texts = [whole, ...parts];
  return texts.flatMap((text) => [text, text.replaceAll("+", "-").replaceAll("/", "_")]);
}

/** What base64 makes of the bytes wherever they stand in a longer text, `before` bytes after a third. */
function within(bytes: Buffer, before: number): string {
  const padded = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
  // Characters at the edges hold bits of the neighbours as well.
  return padded.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
}
