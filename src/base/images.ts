import type { Image, ImageType } from "./contract.ts";

const TYPES: readonly ImageType[] = ["image/jpeg", "image/png", "image/webp"];
const ALLOWED =
  'a data URL such as "data:image/jpeg;base64,…", of image/jpeg, image/png or image/webp';

/** Images of one request. */
const MAX_IMAGES = 16;

/** Reads a list of data URLs; returns what is wrong with it. */
export function imagesOf(value: unknown): readonly Image[] | string {
  if (!Array.isArray(value)) return 'its "images" is not a list';
  if (value.length > MAX_IMAGES) return `its "images" has more than ${MAX_IMAGES} entries`;
  const images: Image[] = [];
  for (const [index, url] of value.entries()) {
    const image = typeof url === "string" ? imageOf(url) : undefined;
    if (image === undefined) return `entry ${index} of its "images" is not ${ALLOWED}`;
    images.push(image);
  }
  return images;
}

/** The image of a data URL (RFC 2397); undefined if it is none of an allowed type. */
function imageOf(url: string): Image | undefined {
  const end = url.indexOf(",");
  const head = url.slice(0, Math.min(end, 100)).toLowerCase();
  const mediaType = TYPES.find((type) => head === `data:${type};base64`);
  const data = url.slice(end + 1);
  if (end === -1 || mediaType === undefined || !isBase64(data)) return undefined;
  return { mediaType, data };
}

function isBase64(data: string): boolean {
  return data.length > 0 && data.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(data);
}
