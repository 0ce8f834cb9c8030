import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { describeImage, withImageNotes } from "../../src/base/image-note.ts";
import { dataUrl, imageOf, imagesOf } from "../../src/base/images.ts";
import { dataUrlOf, JPEG, jpegOf, PNG, WEBP } from "../support/images.ts";

const TYPES = [
  ["image/jpeg", JPEG],
  ["image/png", PNG],
  ["image/webp", WEBP],
] as const;

function problemOf(images: unknown): string {
  const found = imagesOf(images);
  return typeof found === "string" ? found : assert.fail("it is read");
}

describe("images of a request", () => {
  it("have the type of their bytes, whatever their sender says", () => {
    for (const [mediaType, bytes] of TYPES) {
      for (const said of ["image/jpeg", "image/png", "IMAGE/WEBP", "image/jpg", "image/gif"]) {
        const expected = [{ mediaType, data: bytes.toString("base64") }];
        assert.deepEqual(imagesOf([dataUrlOf(bytes, said)]), expected);
      }
    }
  });

  it("are refused if their bytes are none of an allowed type", () => {
    for (const text of ["GIF89a", "%PDF-1.7", "<svg/>", "RIFF1234WAVE", "\u0089PNG", "RIFF"]) {
      const found = imagesOf([dataUrlOf(Buffer.from(text, "latin1"), "image/png")]);
      assert.equal(found, 'entry 0 of its "images" is no JPEG, PNG or WebP image');
    }
  });

  it("are at most four", () => {
    const url = dataUrlOf(PNG, "image/png");
    assert.equal(imagesOf([url, url, url, url])?.length, 4);
    assert.match(problemOf([url, url, url, url, url]), /more than 4/);
  });

  it("go through unchanged or are refused with a sentence, whatever bytes they are", () => {
    const starts = TYPES.map(([, bytes]) => Array.from(bytes.subarray(0, 30)));
    const start = fc.constantFrom([], ...starts);
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 200 }), (head, rest) => {
        const bytes = Buffer.from([...head, ...rest]);
        const image = imageOf(bytes);
        const url = dataUrlOf(bytes, "image/png");
        if (image === undefined) {
          return assert.match(problemOf([url]), /^entry 0 of its "images" is /);
        }
        assert.deepEqual(imagesOf([url]), [image]);
        assert.deepEqual(imagesOf([dataUrl(image)]), [image]);
        assert.deepEqual(Buffer.from(image.data, "base64"), bytes);
        return assert.match(describeImage(image), /^an image(?: of \d+ x \d+)?, image\/\w+, \d+ /);
      }),
    );
  });

  it("refuse what is no base64 at all, or only nearly", () => {
    const data = PNG.toString("base64");
    for (const wrong of [`${data}=`, data.slice(0, -1), ` ${data}`, `${data}\n`, `-${data}___`]) {
      const found = problemOf([`data:image/png;base64,${wrong}`]);
      assert.match(found, /entry 0 of its "images" is not a data URL/);
    }
  });
});

describe("the note of an image", () => {
  it("tells its size from the header alone", () => {
    const notes = [JPEG, PNG, WEBP, jpegOf(640, 480, 41_984)].map((bytes) => {
      const image = imageOf(bytes);
      return image && describeImage(image);
    });
    assert.deepEqual(notes, [
      `an image of 1 x 1, image/jpeg, ${JPEG.length} bytes`,
      `an image of 1 x 1, image/png, ${PNG.length} bytes`,
      `an image of 1 x 1, image/webp, ${WEBP.length} bytes`,
      "an image of 640 x 480, image/jpeg, 41 KB",
    ]);
  });

  it("leaves out a size that nobody can read", () => {
    const image = imageOf(jpegOf(1, 1, 2000).subarray(0, 9));
    assert.equal(image && describeImage(image), "an image, image/jpeg, 9 bytes");
  });

  it("stands before the text, one line an image", () => {
    const image = imageOf(jpegOf(640, 480, 41_984));
    const note = "[an image of 640 x 480, image/jpeg, 41 KB was here]";
    const images = image === undefined ? [] : [image, image];
    assert.equal(withImageNotes("what is this?", images), `${note}\n${note}\nwhat is this?`);
  });
});
