import assert from "node:assert/strict";

/** A text as data with its source, as a model is given it. */
export interface Frame {
  readonly from: string;
  /** What it says of characters that nobody sees; "" where there were none. */
  readonly hidden: string;
  readonly text: string;
}

const FRAME = /<data_only from="([^"<>]*)"(?: hidden="([^"<>]*)")?>\n(.*?)\n<\/data_only>/gs;

/** All frames in a text, which hold no tag of a frame themselves. */
export function framesIn(text: string): Frame[] {
  return [...text.matchAll(FRAME)].map(([, from = "", hidden = "", inside = ""]) => ({
    from,
    hidden,
    text: inside,
  }));
}

/** The one frame that a text is. */
export function frameOf(text: string | null | undefined): Frame {
  const [frame] = framesIn(text ?? "");
  if (frame === undefined) return assert.fail(`it is no frame: ${text}`);
  const { from, hidden, text: inside } = frame;
  const note = hidden === "" ? "" : ` hidden="${hidden}"`;
  assert.equal(text, `<data_only from="${from}"${note}>\n${inside}\n</data_only>`);
  return frame;
}
