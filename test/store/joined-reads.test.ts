import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { joinedReads } from "../../src/store/postgres/joined-reads.ts";

describe("joined reads", () => {
  it("are one statement for what is asked for at once, and each gets its own rows", async () => {
    const statements: (readonly number[])[] = [];
    const read = joinedReads("seq", (seqs: readonly number[]) => {
      statements.push([...seqs]);
      return Promise.resolve(
        seqs.filter((seq) => seq !== 3).map((seq) => ({ seq, is: `row ${seq}` })),
      );
    });
    const [one, two, three] = await Promise.all([read(1), read(2), read(3)]);
    assert.deepEqual(one, [{ seq: 1, is: "row 1" }]);
    assert.deepEqual(two, [{ seq: 2, is: "row 2" }]);
    assert.deepEqual(three, []);
    await read(4);
    assert.deepEqual(statements, [[1, 2, 3], [4]]);
  });

  it("that fail reject all that were asked for together, and the next ones are read anew", async () => {
    let fails = true;
    const read = joinedReads("seq", () =>
      fails ? Promise.reject(new Error("away")) : Promise.resolve([]),
    );
    const settled = await Promise.allSettled([read(1), read(2)]);
    assert.deepEqual(
      settled.map(({ status }) => status),
      ["rejected", "rejected"],
    );
    fails = false;
    assert.deepEqual(await read(1), []);
  });
});
