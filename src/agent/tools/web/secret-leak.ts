/** Says whether a text that is about to leave holds a secret, however it is written. */
export type HoldsSecret = (text: string) => boolean;

/** Why something stays; it tells nothing of where it was bound, for the secret may stand there. */
export const HELD_BACK = "it holds a secret of this program's configuration, which must not leave";

/** Letters and digits; what is shorter is looked for as a whole word alone, or ordinary words would count. */
const LEAST = 8;
const LEAST_WORD = 4;
/** How often a text may have been URL-encoded. */
const LAYERS = 3;

/**
 * Watches for the secrets of a configuration in addresses and searches, which are the one thing of a
 * fetch that the model chooses: as they are, in other letters' cases (names of hosts have one alone), cut
 * by dots and dashes into labels, backwards, in ROT13, URL encoding, hexadecimal, base64 and base32.
 */
export function createLeakWatch(secrets: readonly string[]): HoldsSecret {
  const known = [...new Set(secrets.map((secret) => secret.trim()))];
  const words = known.filter((word) => word.length >= LEAST_WORD && compact(word).length < LEAST);
  const forms = known.filter((secret) => compact(secret).length >= LEAST).flatMap(formsOf);
  return (text) => {
    const layers = layersOf(text);
    return (
      layers.map(compact).some((layer) => forms.some((form) => layer.includes(form))) ||
      layers.some((layer) => words.some((word) => isWordIn(word, layer)))
    );
  };
}

/** The text, and what it is when it is decoded again and again. */
function layersOf(text: string): string[] {
  const layers = [text];
  for (let times = 0; times < LAYERS; times += 1) {
    const before = layers.at(-1) ?? "";
    const after = before.replaceAll(/(?:%[\da-f]{2})+/gi, decoded);
    if (after === before) break;
    layers.push(after);
  }
  return layers;
}

function decoded(codes: string): string {
  return Buffer.from(codes.replaceAll("%", ""), "hex").toString("utf8");
}

/** Small letters and digits alone. */
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
    plain.replaceAll(/[a-z]/g, rotated),
    bytes.toString("hex"),
    ...[0, 1, 2].map((before) => compact(encodedWithin(bytes, before, BASE64))),
    ...[0, 1, 2, 3, 4].map((before) => encodedWithin(bytes, before, BASE32)),
  ];
  return [...new Set(all)].filter((form) => form.length >= LEAST);
}

function rotated(letter: string): string {
  return String.fromCharCode(((letter.charCodeAt(0) - 97 + 13) % 26) + 97);
}

interface Encoding {
  readonly bits: number;
  readonly encode: (bytes: Buffer) => string;
}

const BASE64: Encoding = { bits: 6, encode: (bytes) => bytes.toString("base64") };
/** RFC 4648 section 6, in small letters and without padding. */
const BASE32: Encoding = {
  bits: 5,
  encode(bytes) {
    const all = Array.from(bytes, (byte) => byte.toString(2).padStart(8, "0")).join("");
    const groups = all.match(/.{1,5}/g) ?? [];
    return groups
      .map((group) => "abcdefghijklmnopqrstuvwxyz234567"[Number.parseInt(group.padEnd(5, "0"), 2)])
      .join("");
  },
};

/** What the bytes are wherever they stand in a longer text, `before` bytes after a group's beginning. */
function encodedWithin(bytes: Buffer, before: number, { bits, encode }: Encoding): string {
  const padded = encode(Buffer.concat([Buffer.alloc(before), bytes]));
  // Characters at the edges hold bits of the neighbours as well.
  const first = Math.ceil((before * 8) / bits);
  return padded.slice(first, Math.floor(((before + bytes.length) * 8) / bits));
}
