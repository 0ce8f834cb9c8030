import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { ask } from "./client.ts";
import { settled } from "./manual-clock.ts";
import { createTestGateway } from "./setup.ts";

describe("a turn that fails", () => {
  it("ends an answer with the model's failure, after what was streamed, without its facts", async () => {
    const { gateway, lines } = createTestGateway(async function* () {
      yield "It is ";
      throw new Failure("model", "the model is overloaded", {
        why: "https://api.example/v1 said 529 {key: sk-123}",
        remedy: "wait",
        retryAfter: 7,
        cause: new Error("socket hang up"),
      });
    });
    const asked = ask("?", { id: "r-1" });
    void gateway.accept(asked.request);
    const { error, ...last } = await asked.done;
    assert.deepEqual(asked.parts.slice(0, -1), [{ text: "It is " }]);
    assert.deepEqual(last, { text: "the model is overloaded", done: true });
    assert.ok(error);
    assert.deepEqual([error.code, error.retryAfter], ["model", 7]);
    assert.deepEqual([error.why, error.remedy, error.cause], [undefined, undefined, undefined]);
    await settled();
    const [line, stack] = lines;
    assert.equal(line?.level, "warn");
    assert.equal(line?.fields["id"], "r-1");
    assert.equal(line?.fields["outcome"], "model");
    assert.match(String(line?.fields["why"]), /529/);
    assert.equal(stack?.level, "debug");
    assert.match(String(stack?.fields["stack"]), /socket hang up/);
  });

  it("calls internal whatever else is thrown, and says no more than that", async () => {
    const thrown: unknown[] = [new TypeError("x is not a function"), "a string", undefined];
    for (const what of thrown) {
      const { gateway } = createTestGateway(async function* () {
        yield* [];
        throw what;
      });
      const asked = ask("?");
      void gateway.accept(asked.request);
      const last = await asked.done;
      assert.equal(last.error?.code, "internal");
      assert.equal(last.text, "something went wrong inside picoclaw");
    }
    const { gateway } = createTestGateway(() => {
      throw new Failure("refused", "the key was refused");
    });
    const asked = ask("?");
    void gateway.accept(asked.request);
    assert.equal((await asked.done).error?.code, "internal");
  });

  it("says in the log where a fault of ours comes from", async () => {
    const faults = [new Failure("internal", "a bad state"), new TypeError("x is not a function")];
    for (const fault of faults) {
      const { gateway, lines } = createTestGateway(async function* () {
        yield* [];
        throw fault;
      });
      const asked = ask("?");
      void gateway.accept(asked.request);
      await asked.done;
      assert.match(String(lines[1]?.fields["stack"]), /errors\.test/);
    }
  });

  it("cuts off an answer that never ends", async () => {
    let shown = false;
    const { gateway } = createTestGateway(async function* ({ signal }) {
      try {
        while (!signal.aborted) yield "x".repeat(1000);
      } finally {
        shown = signal.aborted;
      }
      return { messages: [] };
    });
    const asked = ask("?");
    void gateway.accept(asked.request);
    const last = await asked.done;
    assert.equal(last.error?.code, "model");
    assert.ok(shown);
    const streamed = asked.text().length - last.text.length;
    assert.ok(streamed > 1_000_000 && streamed <= 2 ** 20);
  });
});
