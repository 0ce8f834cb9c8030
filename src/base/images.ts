import { Buffer } from "node:buffer";
import type { Image, ImageType } from "./contract.ts";

/** Images of one request, and of the tool results of one turn. */
export const MAX_IMAGES = 4;
const ALLOWED = 'a data URL such as "data:image/jpeg;base64,…"';

/** Reads a list of data URLs; returns what is wrong with it. The type of an image is that of its bytes. */
export function imagesOf(value: unknown): readonly Image[] | string {
  if (!Array.isArray(value)) return 'its "images" is not a list';
  if (value.length > MAX_IMAGES) return `its "images" has more than ${MAX_IMAGES} entries`;
  const images: Image[] = [];
  for (const [index, url] of value.entries()) {
    const entry = `entry ${index} of its "images"`;
    const data = typeof url === "string" ? dataOf(url) : undefined;
    if (data === undefined) return `${entry} is not ${ALLOWED}`;
    const mediaType = imageTypeOf(Buffer.from(data.slice(0, SIGNATURE_CHARACTERS), "base64"));
    if (mediaType === undefined) return `${entry} ${NO_IMAGE}`;
    images.push({ mediaType, data });
  }
  return images;
}

/** The end of a sentence about bytes that are no image of an allowed type. */
export const NO_IMAGE = "is no JPEG, PNG or WebP image";

/** The image that bytes are, by their signature; undefined if they are none. They are not decoded. */
export function imageOf(bytes: Uint8Array): Image | undefined {
  const mediaType = imageTypeOf(bytes);
  if (mediaType === undefined) return undefined;
  const { buffer, byteOffset, byteLength } = bytes;
  return { mediaType, data: Buffer.from(buffer, byteOffset, byteLength).toString("base64") };
}

/** The image as a data URL (RFC 2397). */
export function dataUrl({ mediaType, data }: Image): string {
  return `data:${mediaType};base64,${data}`;
}

/** Base64 of the longest signature. */
const SIGNATURE_CHARACTERS = 16;

/** The type of an image by its first bytes (PNG, section 5.2; JPEG: SOI and a marker; RFC 9649, section 2). */
export function imageTypeOf(bytes: Uint8Array): ImageType | undefined {
  const start = Buffer.from(bytes.subarray(0, 12)).toString("latin1");
  if (start.startsWith("\u00ff\u00d8\u00ff")) return "image/jpeg";
  if (start.startsWith("\u0089PNG\r\n\u001a\n")) return "image/png";
  return /^RIFF[^]{4}WEBP$/.test(start) ? "image/webp" : undefined;
}

/** The base64 of a data URL of an image (RFC 2397); undefined if it is none. */
function dataOf(url: string): string | undefined {
  const end = url.indexOf(",");
  const head = url.slice(0, Math.max(0, Math.min(end, 100)));
  const data = url.slice(end + 1);
  return /^data:image\/[\w.+-]+;base64$/i.test(head) && isBase64(data) ? data : undefined;
}

/** Base64 with its padding, and without blanks (RFC 4648, section 4). */
function isBase64(data: string): boolean {
  return data.length > 0 && data.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(data);
}
