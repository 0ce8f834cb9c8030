import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fuzz, minimised } from "./engine.ts";
import { mutated } from "./mutate.ts";
import { createRandom } from "./random.ts";
import { textOf } from "./target.ts";
import type { Target, Trial } from "./target.ts";
import { slowness } from "./work.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function targetOf(run: Trial["run"], more: Partial<Target> = {}): Target {
  return {
    name: "test",
    about: "it holds",
    material: { words: ["open", "sesame"], json: true, lines: true },
    open: async () => ({ run }),
    ...more,
  };
}

/** Breaks only behind two doors, each of which shows itself by an outcome of its own. */
const cave = targetOf((input) => {
  const text = textOf(input);
  if (!text.includes("open")) return "shut";
  if (!text.includes("opensesame")) return "ajar";
  throw new Error("the treasure is taken");
});

/** All inputs of a run with that seed. */
async function inputsOf(seed: number): Promise<string[]> {
  const inputs: string[] = [];
  const target = targetOf((input) => {
    inputs.push(Buffer.from(input).toString("hex"));
    return `${input.length}`;
  });
  await fuzz(target, { seed, corpus: [bytes('{"a":[1,"b"]}'), bytes("c\nd")], runs: 300 });
  return inputs;
}

describe("the fuzzer", () => {
  it("finds what lies behind several steps, and makes its input small", async () => {
    const { broken, found } = await fuzz(cave, { seed: 7, corpus: [bytes("x")], runs: 100_000 });
    assert.ok(broken);
    assert.ok(found.some((input) => textOf(input).includes("open")));
    const small = await minimised(cave, broken);
    assert.equal(textOf(small.input), "opensesame");
  });

  it("makes the same inputs from the same seed, and others from another one", async () => {
    assert.deepEqual(await inputsOf(1), await inputsOf(1));
    assert.notDeepEqual(await inputsOf(1), await inputsOf(2));
  });

  it("keeps what has an outcome of its own, once each", async () => {
    const target = targetOf((input) => String(input.length % 5));
    const { found, outcomes } = await fuzz(target, { seed: 3, corpus: [bytes("")], runs: 5_000 });
    assert.equal(outcomes.size, 5);
    assert.deepEqual(new Set(found.map(({ length }) => length % 5)), new Set([1, 2, 3, 4]));
    assert.equal(found.length, 4);
  });

  it("takes what never ends, and a slow reader, for broken", async () => {
    const never = targetOf(() => new Promise<string>(() => {}), { patience: 50 });
    const stuck = await fuzz(never, { seed: 1, corpus: [bytes("x")], runs: 1 });
    assert.match(stuck.broken?.message ?? "", /nothing came of it within 0\.05 s/);
    const quadratic: Trial = {
      run(input) {
        let count = 0;
        for (let one = 0; one < input.length; one += 2) {
          for (let other = 0; other < input.length; other += 2) count += input[other] ?? 0;
        }
        return String(count);
      },
    };
    const slow = await slowness(quadratic, bytes("abc"));
    assert.match(slow?.message ?? "", /8 times the input is more than 24 times the work/);
    const linear: Trial = { run: (input) => String(input.reduce((sum, one) => sum + one, 0)) };
    assert.equal(await slowness(linear, bytes("abc")), undefined);
  });

  it("never makes an input longer than it may be, whatever it does to it", () => {
    const random = createRandom(11);
    const material = { words: ["word"], most: 100, json: true, lines: true };
    let input = bytes('{"a":[1,2,{"b":null}]}\ndata: {"c":"d"}');
    for (let time = 0; time < 5_000; time += 1) {
      input = mutated(input, bytes("other 12\n[]"), random, material);
      assert.ok(input.length <= 100);
    }
  });
});
