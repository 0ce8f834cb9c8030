import type { AnswerPart } from "./contract.ts";
import type { WirePart } from "./wire.ts";

/** What one more message on the response topic is to an answer that is being collected. */
export type Taken = AnswerPart | "ignored" | "missing";

/**
 * Puts the parts of one answer in order: a part with `seq` 0 begins anew, a repeated one is ignored, a
 * hole is `missing`. A gateway that numbers nothing is taken part by part.
 */
export function createPartTaker(): (part: WirePart, payload: Uint8Array) => Taken {
  let expected = 0;
  let begun = false;
  let last: Uint8Array | undefined;
  return (part, payload) => {
    const { text, seq, done = false, error } = part;
    const rest = { text, done, ...(error && { error }), payload };
    if (seq === undefined) {
      const restart = !begun;
      begun = true;
      return { ...rest, restart };
    }
    // A second delivery of the only part so far (QoS 1) is no new beginning.
    const repeated = expected === 1 && last !== undefined && Buffer.compare(last, payload) === 0;
    if (repeated || (seq !== 0 && seq < expected)) return "ignored";
    if (seq > expected) return "missing";
    begun = true;
    expected = seq + 1;
    last = payload;
    return { ...rest, seq, restart: seq === 0 };
  };
}
