import { createRedactor } from "../../../base/redaction/redactor.ts";
import { base64SpellingsOf } from "../../../base/redaction/secret-encodings.ts";

/** Whether an outgoing text contains a secret. */
export type HoldsSecret = (text: string) => boolean;

/** The reason of a refusal. It does not name the target, which may contain the secret. */
export const HELD_BACK = "it contains a secret of this program's configuration";

/** Letters and digits. A shorter secret counts only as a whole word, or ordinary words would match. */
const LEAST = 8;
const LEAST_WORD = 4;
/** Layers of URL encoding that are decoded. */
const LAYERS = 3;

/**
 * Finds the secrets of a configuration in what the model chooses of a fetch, a search or a message: in all
 * encodings that redaction knows, in another case (host names have no case), split by dots and dashes into
 * labels, backwards, in ROT13, and in base32.
 */
export function createLeakWatch(secrets: readonly string[]): HoldsSecret {
  const all = [...new Set(secrets.map((secret) => secret.trim()))];
  const words = all.filter((word) => word.length >= LEAST_WORD && compact(word).length < LEAST);
  const long = all.filter((secret) => compact(secret).length >= LEAST);
  const forms = long.flatMap(formsOf);
  const redactor = createRedactor(long);
  return (text) => {
    const layers = layersOf(text);
    return (
      layers.map(compact).some((layer) => forms.some((form) => layer.includes(form))) ||
      layers.some((layer) => words.some((word) => isWordIn(word, layer))) ||
      redactor.redact(text) !== text
    );
  };
}

/** The text, and the text with each layer of URL encoding removed. */
function layersOf(text: string): string[] {
  const layers = [text];
  for (let times = 0; times < LAYERS; times += 1) {
    const before = layers.at(-1) ?? "";
    const after = before.replaceAll(/(?:%[\da-f]{2})+/gi, decodePercent);
    if (after === before) break;
    layers.push(after);
  }
  return layers;
}

function decodePercent(codes: string): string {
  return Buffer.from(codes.replaceAll("%", ""), "hex").toString("utf8");
}

/** Lower-case letters and digits only. */
function compact(text: string): string {
  return text.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, "");
}

function isWordIn(word: string, text: string): boolean {
  for (let at = text.indexOf(word); at !== -1; at = text.indexOf(word, at + 1)) {
    const around = text.charAt(at - 1) + text.charAt(at + word.length);
    if (!/[\p{L}\p{N}]/u.test(around)) return true;
  }
  return false;
}

function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const plain = compact(secret);
  const all = [
    plain,
    Array.from(plain).toReversed().join(""),
    plain.replaceAll(/[a-z]/g, rot13),
    bytes.toString("hex"),
    ...base64SpellingsOf(secret).map(compact),
    ...[0, 1, 2, 3, 4].map((before) => base32Within(bytes, before)),
  ];
  return [...new Set(all)].filter((form) => form.length >= LEAST);
}

function rot13(letter: string): string {
  return String.fromCharCode(((letter.charCodeAt(0) - 97 + 13) % 26) + 97);
}

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/**
 * The bytes in base32 (RFC 4648 section 6, in lower case and without padding) as they appear in a longer
 * text, `before` bytes after the beginning of a group.
 */
function base32Within(bytes: Buffer, before: number): string {
  const padded = Buffer.concat([Buffer.alloc(before), bytes]);
  const all = Array.from(padded, (byte) => byte.toString(2).padStart(8, "0")).join("");
  const groups = all.match(/.{1,5}/g) ?? [];
  const text = groups.map((group) => BASE32[Number.parseInt(group.padEnd(5, "0"), 2)]).join("");
  // The characters at the edges also contain bits of their neighbours.
  return text.slice(Math.ceil((before * 8) / 5), Math.floor((padded.length * 8) / 5));
}
