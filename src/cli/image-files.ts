import { Buffer } from "node:buffer";
import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { AnswerFormat, Image, RequestExtras } from "../base/contract.ts";
import { Failure, messageOf } from "../base/failure.ts";
import { dataUrl, imageOf, MAX_IMAGES, NO_IMAGE } from "../base/images.ts";
import type { Context } from "./context.ts";

/** Bytes of the images of a question that goes over no broker of others, as data URLs. */
export const MAX_IMAGE_BYTES = 16 * 2 ** 20;

interface ImageLimits {
  /** The text of the request. */
  readonly text: string;
  /** Of text and images together, as they are sent. */
  readonly maxBytes: number;
}

/** The files that `--image` names. Throws a usage `Failure` if there are too many, or one is too large or no image. */
export async function readImages(
  { host, flags }: Pick<Context, "host" | "flags">,
  { text, maxBytes }: ImageLimits,
): Promise<readonly Image[]> {
  const files = flags.texts("image");
  if (files.length > MAX_IMAGES) {
    throw new Failure("usage", `--image is given more than ${MAX_IMAGES} times`);
  }
  let left = maxBytes - Buffer.byteLength(text);
  const images: Image[] = [];
  for (const file of files) {
    const image = imageOf(await bytesOf(resolve(host.cwd, file), left));
    if (image === undefined) throw new Failure("usage", `${file} ${NO_IMAGE}`);
    left -= dataUrl(image).length;
    if (left < 0) throw tooLarge(maxBytes);
    images.push(image);
  }
  return images;
}

async function bytesOf(file: string, most: number): Promise<Uint8Array> {
  try {
    const { size } = await stat(file);
    if (size > most) throw tooLarge(most);
    return await readFile(file);
  } catch (thrown) {
    if (thrown instanceof Failure) throw thrown;
    const why = messageOf(thrown);
    throw new Failure("usage", `the image cannot be read from ${file}`, { why });
  }
}

function tooLarge(most: number): Failure {
  return new Failure("usage", "the images are too large", {
    why: `a request has at most ${most} bytes (max_payload_bytes), in which an image grows by a third`,
    remedy: "send a smaller image, or raise max_payload_bytes here and at the gateway",
  });
}

/** What goes with the text of a request; undefined if nothing does. */
export function requestExtras(
  format: AnswerFormat | undefined,
  images: readonly Image[],
): RequestExtras | undefined {
  if (format === undefined && images.length === 0) return undefined;
  return { ...(format && { format }), ...(images.length > 0 && { images }) };
}
