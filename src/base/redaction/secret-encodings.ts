import { unicodeEscape } from "../escape-control.ts";
import { INVISIBLE, KINDS, lowered } from "./symbols.ts";

/**
 * Bytes or characters. A shorter secret is searched for only in the encodings of `spellingsOf`; its parts
 * within longer base64 or hexadecimal text would match too often.
 */
const LEAST_WITHIN = 8;
/** Characters at least of a secret that contains escapes, after they are decoded. */
const LEAST_PLAIN = 6;

/** The secret as it is, and encoded in JSON, base64, hexadecimal and URLs. */
export function spellingsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  const hex = bytes.toString("hex");
  const base64 = base64Of(bytes).flatMap((text) => [text, urlSafe(text)]);
  const all = [secret, ...jsonOf(secret), ...urlOf(secret), ...base64, hex, hex.toUpperCase()];
  return [...new Set(all)];
}

/**
 * The secret with escapes decoded, without invisible characters, in lower case; and the same of its UTF-8
 * bytes, because URL encoding escapes those.
 */
export function plainSpellingsOf(secret: string): readonly string[] {
  if (secret.length < LEAST_WITHIN) return [];
  const octets = Array.from(Buffer.from(secret), octetText).join("");
  const all = [secret, unescaped(secret), octets].map(plain);
  return [...new Set(all)].filter(({ length }) => length >= LEAST_PLAIN);
}

function plain(text: string): string {
  const units = Array.from({ length: text.length }, (_, index) => text.charCodeAt(index));
  const seen = units.filter((unit) => (KINDS[unit]! & INVISIBLE) === 0);
  return seen.map((unit) => String.fromCharCode(lowered(unit))).join("");
}

/** The base64 of the secret at every position in the encoded data. */
export function base64SpellingsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  return bytes.length < LEAST_WITHIN ? [] : base64Of(bytes);
}

/** Its bytes in hexadecimal, and as little-endian words of two bytes, as `hexdump` and `od -x` print them. */
export function hexSpellingsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  if (bytes.length < LEAST_WITHIN) return [];
  const swapped = [bytes, bytes.subarray(1)].map((part) =>
    Buffer.from(part.subarray(0, part.length - (part.length % 2))).swap16(),
  );
  return [bytes, ...swapped].map((part) => part.toString("hex"));
}

/**
 * In a JSON string (RFC 8259 section 7), in a JSON string inside another, and in variants that some encoders
 * write: only ASCII, characters of HTML escaped, each slash escaped.
 */
function jsonOf(secret: string): string[] {
  const once = jsonTextOf(secret);
  const twice = jsonTextOf(once);
  const ascii = once.replaceAll(/[^ -~]/g, unicodeEscape);
  const html = once.replaceAll(/[<>&\u2028\u2029]/g, unicodeEscape);
  const slashed = once.replaceAll("/", String.raw`\/`);
  return [once, twice, ascii, jsonTextOf(ascii), html, slashed];
}

function jsonTextOf(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/** Percent-encoded (RFC 3986 section 2, and HTML forms), in the variants of the usual encoders. */
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

/** RFC 4648 section 4, without padding. */
function base64Of(bytes: Buffer): string[] {
  const whole = bytes.toString("base64").replaceAll("=", "");
  const parts = bytes.length < LEAST_WITHIN ? [] : [0, 1, 2].map((before) => within(bytes, before));
  return [whole, ...parts];
}

/** RFC 4648 section 5. */
function urlSafe(text: string): string {
  return text.replaceAll("+", "-").replaceAll("/", "_");
}

/** What base64 makes of the bytes wherever they stand in a longer text, `before` bytes after a third. */
function within(bytes: Buffer, before: number): string {
  const padded = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
  // Characters at the edges hold bits of the neighbours as well.
  return padded.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
}

/** One escaped character in a text. */
interface Escape {
  /** The decoded character; empty for backslashes alone and for invisible characters. */
  readonly means: string;
  /** Length in the text, in UTF-16 units. */
  readonly length: number;
  /** The two digits of `\x73`. */
  readonly digits?: string;
}

/**
 * Escapes of JSON and similar syntaxes (`\u0073`, `\u{73}`, `\x73`, `\n`), URLs (`%73`) and HTML (`&#115;`,
 * `&#x73;`, `&amp;`), escaped again up to two times or with up to eight backslashes; halves of invisible
 * surrogate pairs.
 */
const WHOLE = new RegExp(
  [
    String.raw`\\{1,8}(?:u(?<four>[\da-f]{4})|u\{(?<braced>[\da-f]{1,6})\}|x(?<byte>[\da-f]{2})|(?<short>[nrtvfb]))?`,
    String.raw`%(?:25){0,2}(?<percent>[\da-f]{2})`,
    String.raw`&(?:amp;){0,2}(?:#x(?<hex>[\da-f]{1,6});|#(?<decimal>\d{1,7});|(?<name>amp|lt|gt|quot|apos);)`,
    String.raw`[\udb40-\udb43][\udc00-\udfff]?`,
  ].join("|"),
  "iy",
);

const ANYWHERE = new RegExp(WHOLE.source, "gi");

/** An end of a text that is an incomplete escape, or can continue as a longer one. */
const BEGUN = new RegExp(
  [
    String.raw`\\{1,8}(?:u(?:[\da-f]{0,3}|\{[\da-f]{0,6})|x[\da-f]?)?$`,
    String.raw`%(?:25){0,2}[\da-f]?$`,
    String.raw`&(?:amp;){0,2}(?:#(?:x[\da-f]{0,6}|\d{0,7})|[a-z]{0,4})$`,
    String.raw`[\udb40-\udb43]$`,
  ].join("|"),
  "iy",
);

const SHORT: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  f: "\f",
  b: "\b",
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

/** UTF-16 units; every escape is shorter. */
const MOST = 24;

/** Whether the text ends within an escape that begins at `at`. */
export function isEscapeBegun(text: string, at: number): boolean {
  if (text.length - at > MOST) return false;
  BEGUN.lastIndex = at;
  return BEGUN.test(text);
}

/** The escape that begins at `at`; undefined if there is none. */
export function escapeAt(text: string, at: number): Escape | undefined {
  WHOLE.lastIndex = at;
  const match = WHOLE.exec(text);
  if (match === null) return undefined;
  const { byte, percent, ...others } = match.groups ?? {};
  const length = match[0].length;
  const octet = percent ?? byte;
  if (octet === undefined) return { means: meaningOf(others), length };
  const means = octetText(Number.parseInt(octet, 16));
  return { means, length, ...(byte !== undefined && { digits: byte }) };
}

function meaningOf({ four, braced, hex, decimal, short, name }: Record<string, string>): string {
  const named = short ?? name;
  if (named !== undefined) return SHORT[named.toLowerCase()] ?? "";
  const sixteenth = four ?? braced ?? hex;
  const code = Number.parseInt(sixteenth ?? decimal ?? "", sixteenth === undefined ? 10 : 16);
  return code <= 0x10_ff_ff ? String.fromCodePoint(code) : "";
}

/** A byte of UTF-8 as one UTF-16 unit: itself if it is ASCII, else a unit of the private use area. */
function octetText(byte: number): string {
  return String.fromCharCode(byte < 0x80 ? byte : 0xf7_00 + byte);
}

/** The text with every escape decoded. */
function unescaped(text: string): string {
  return text.replaceAll(ANYWHERE, (escape) => escapeAt(escape, 0)?.means ?? "");
}
