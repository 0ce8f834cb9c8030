import assert from "node:assert/strict";
import type { ConditionTerm } from "../../../src/base/contract.ts";
import { readCondition, readPath } from "../../../src/config/watch/condition.ts";
import { comparedValues, holds, valueOfPayload } from "../../../src/gateway/watch/condition.ts";
import { kindOf, textOf } from "../target.ts";
import type { Target } from "../target.ts";

/** A condition of a watched topic on the first line, and a payload. */
function runWatch(input: Uint8Array): string {
  const [written = "", ...rest] = textOf(input).split("\n");
  readPath(written);
  const read = readCondition(written);
  if (typeof read === "string") return kindOf(read).split(" ", 2).join(" ");
  if ("missingMs" in read) return "missing";
  const { when } = read;
  const value = valueOfPayload(rest.join("\n"));
  const now = comparedValues(when, value);
  const isHeld = holds(when, value, now, []);
  assert.equal(holds(when, value, now, now), isHeld, "the same message again has changed");
  for (const term of when.anyOf.flat()) assertCompares(term, value);
  return `${isHeld} ${when.becomes} ${when.anyOf.flat().length} ${typeof value}`;
}

function assertCompares(term: ConditionTerm, value: unknown): void {
  if (term.operator === "changed") return;
  const isSo = (operator: typeof term.operator): boolean =>
    holds({ becomes: false, anyOf: [[{ ...term, operator }]] }, value, [], []);
  assert.ok(!(isSo("==") && isSo("!=")), "it is equal and is not");
  if (typeof term.value !== "number") return;
  assert.ok(!(isSo("<") && isSo(">=")) && !(isSo(">") && isSo("<=")), "it is less and is not");
  if (isSo("==")) assert.ok(isSo("<=") && isSo(">="), "it is equal, and less or more");
}

export const WATCH: Target = {
  name: "watch",
  about: "a condition of a watched topic is read or refused, and compares with any payload",
  material: {
    most: 4000,
    lines: true,
    words:
      '$ $.a a.b [0] ["a b"] == != < <= > >= and or changed becomes missing for 10m 1 -1.5e3 "on" \'on\' true null { } [ ] {"a":1} 1e999 \\ \n'.split(
        " ",
      ),
  },
  linear: true,
  async open() {
    return { run: runWatch };
  },
};
