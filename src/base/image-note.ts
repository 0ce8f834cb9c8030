import { Buffer } from "node:buffer";
import type { Image, ImageType } from "./contract.ts";

/** An image in words: its size in pixels if its header tells it, its type, and its size in bytes. */
export function describeImage({ mediaType, data }: Image): string {
  const bytes = Buffer.from(data, "base64");
  const size = sizeOf(bytes, mediaType);
  const pixels = size === undefined ? "" : ` of ${size.width} x ${size.height}`;
  const { length } = bytes;
  const amount = length < 1024 ? `${length} bytes` : `${Math.round(length / 1024)} KB`;
  return `an image${pixels}, ${mediaType}, ${amount}`;
}

/** A question for the history, which holds no images: a line for each of them, and the text. */
export function withImageNotes(text: string, images: readonly Image[]): string {
  return [...images.map((image) => `[${describeImage(image)} was here]`), text].join("\n");
}

interface PixelSize {
  readonly width: number;
  readonly height: number;
}

/** Reads width and height from the header; undefined if it is incomplete. Decodes nothing. */
function sizeOf(bytes: Buffer, mediaType: ImageType): PixelSize | undefined {
  try {
    if (mediaType === "image/png") {
      return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) };
    }
    return mediaType === "image/jpeg" ? jpegSize(bytes) : webpSize(bytes);
  } catch (thrown) {
    if (thrown instanceof RangeError) return undefined;
    throw thrown;
  }
}

/** Looks for the frame header among the segments (ITU-T T.81, B.1 and B.2.2). */
function jpegSize(bytes: Buffer): PixelSize | undefined {
  for (let place = 2; ;) {
    if (bytes.readUInt8(place) !== 0xff) return undefined;
    const marker = bytes.readUInt8(place + 1);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) {
      return { width: bytes.readUInt16BE(place + 7), height: bytes.readUInt16BE(place + 5) };
    }
    // A fill byte is followed by the marker itself.
    place += marker === 0xff ? 1 : 2 + bytes.readUInt16BE(place + 2);
  }
}

/** The three forms of a WebP file (RFC 9649, sections 2.5 to 2.7). */
function webpSize(bytes: Buffer): PixelSize | undefined {
  const form = bytes.toString("latin1", 12, 16);
  if (form === "VP8X") {
    return { width: bytes.readUIntLE(24, 3) + 1, height: bytes.readUIntLE(27, 3) + 1 };
  }
  if (form === "VP8L") {
    const bits = bytes.readUInt32LE(21);
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
  }
  if (form !== "VP8 ") return undefined;
  return { width: bytes.readUInt16LE(26) & 0x3fff, height: bytes.readUInt16LE(28) & 0x3fff };
}
