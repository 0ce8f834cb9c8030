import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { traceParentOf } from "../../src/base/trace-context.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const VALID = `00-${TRACE}-${SPAN}-01`;

describe("a traceparent", () => {
  it("is read as W3C Trace Context has it, of later versions too", () => {
    const parent = { traceId: TRACE, spanId: SPAN, isSampled: true };
    assert.deepEqual(traceParentOf(VALID), parent);
    assert.deepEqual(traceParentOf(VALID.replace(/01$/, "03")), parent);
    assert.deepEqual(traceParentOf(VALID.replace(/01$/, "00")), { ...parent, isSampled: false });
    assert.deepEqual(traceParentOf(VALID.replace(/01$/, "02")), { ...parent, isSampled: false });
    assert.deepEqual(traceParentOf(`cc-${VALID.slice(3)}`), parent);
    assert.deepEqual(traceParentOf(`cc-${VALID.slice(3)}-what-comes-later`), parent);
  });

  it("is ignored if it is none", () => {
    for (const text of [
      "",
      "garbage",
      VALID.toUpperCase(),
      `ff-${VALID.slice(3)}`,
      `0-${VALID.slice(3)}`,
      ` ${VALID}`,
      `${VALID} `,
      `${VALID}\n`,
      `${VALID}-more`,
      `cc-${VALID.slice(3)}.later`,
      VALID.slice(0, -1),
      VALID.replaceAll("-", "_"),
      `00-${"0".repeat(32)}-${SPAN}-01`,
      `00-${TRACE}-${"0".repeat(16)}-01`,
      `00-${TRACE.slice(1)}-${SPAN}-01`,
      `00-${TRACE.slice(1)}g-${SPAN}-01`,
      `00-${TRACE}-${SPAN}-0x`,
    ]) {
      assert.equal(traceParentOf(text), undefined, JSON.stringify(text));
    }
  });
});
