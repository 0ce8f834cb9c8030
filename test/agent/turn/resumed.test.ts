import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Message } from "../../../src/agent/contract.ts";
import { closeOpenToolCalls } from "../../../src/agent/turn/turn.ts";

const call = (...ids: readonly string[]): Message => ({
  role: "assistant",
  text: "",
  toolCalls: ids.map((id) => ({ id, name: "device", arguments: "{}" })),
});
const result = (callId: string, text: string): Message => ({
  role: "tool",
  callId,
  name: "device",
  text,
});

describe("the steps of a turn that was cut off", () => {
  it("are shown with each result behind its call, in the order of the calls", () => {
    const steps = [
      call("1", "2"),
      result("2", "two"),
      result("1", "one"),
      call("3"),
      result("3", "three"),
    ];
    assert.deepEqual(closeOpenToolCalls(steps), [
      call("1", "2"),
      result("1", "one"),
      result("2", "two"),
      call("3"),
      result("3", "three"),
    ]);
  });

  it("tell of a call without a result that nobody knows how it ended", () => {
    const [shown, unknown, known] = closeOpenToolCalls([call("1", "2"), result("2", "two")]);
    assert.deepEqual(shown, call("1", "2"));
    assert.ok(unknown?.role === "tool" && unknown.callId === "1");
    assert.match(unknown.text, /not known/);
    assert.deepEqual(known, result("2", "two"));
  });

  it("keep two calls of one id apart", () => {
    const steps = [call("1"), result("1", "first"), call("1"), result("1", "second")];
    assert.deepEqual(closeOpenToolCalls(steps), steps);
  });

  it("are none where nothing was done", () => assert.deepEqual(closeOpenToolCalls([]), []));
});
