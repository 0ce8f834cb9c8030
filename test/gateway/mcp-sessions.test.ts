import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import { at } from "../../src/base/unknown.ts";
import type { McpCall, McpTools } from "../../src/gateway/mcp/contract.ts";
import { McpSessions } from "../../src/gateway/mcp/sessions.ts";
import { until } from "../support/until.ts";

/** Sessions whose tool `wait` ends when it is cancelled, and `long` says too much. */
function openSessions() {
  const calls: McpCall[] = [];
  const said: { readonly client: string; readonly text: string }[] = [];
  const tools: McpTools = {
    offered: async () => [],
    async call(call) {
      calls.push(call);
      if (call.tool === "long") return { text: "x".repeat(1_000), isError: false };
      await new Promise((resolve) => call.signal.addEventListener("abort", resolve));
      return { text: "over", isError: false };
    },
  };
  const sessions = new McpSessions({
    agent: "kitchen",
    version: "1",
    // oxlint-disable-next-line require-yield
    async *ask() {
      throw new Failure("failed", "nobody asks here");
    },
    tools,
    refusal: () => undefined,
    log: SILENT,
  });
  const say = (client: string, message: object, isControl = false): void => {
    const text = JSON.stringify({ jsonrpc: "2.0", ...message });
    sessions.receive({ client, text, isControl }, async (sent) => {
      if (sent.length > 900) throw new Failure("too_large", "too long for a message");
      said.push({ client, text: sent });
    });
  };
  const call = (client: string, id: unknown, name = "wait"): void =>
    say(client, { id, method: "tools/call", params: { name, arguments: {} } });
  const answersTo = (client: string, id: unknown) =>
    said.filter((one) => one.client === client && at(JSON.parse(one.text), "id") === id);
  return { sessions, calls, said, say, call, answersTo };
}

describe("sessions of MCP", () => {
  it("take sixteen requests of a client at a time, each once, until it cancels one", async () => {
    const { sessions, calls, say, call, answersTo } = openSessions();
    for (let id = 0; id < 16; id += 1) call("c", id);
    call("c", 3);
    for (let id = 0; id < 16; id += 1) {
      for (const wrong of [{ method: 5 }, { method: "x", params: 5 }, { result: {} }]) {
        say("other", { id, ...wrong });
      }
    }
    say("other", { id: 99, method: "ping" });
    await until("what is wrong takes no room", () => answersTo("other", 99).length === 1);
    assert.match(String(answersTo("other", 99)[0]?.text), /"result"/);
    await until("all run", () => calls.length === 16);
    call("c", 16);
    await until("one is refused", () => answersTo("c", 16).length === 1);
    assert.match(String(answersTo("c", 16)[0]?.text), /too many requests are open/);
    call("d", 16);
    await until("another client has room", () => calls.length === 17);
    say("c", { method: "notifications/cancelled", params: { requestId: 3 } });
    await until("it is cancelled", () => calls[3]?.signal.aborted === true);
    call("c", 17);
    await until("there is room again", () => calls.length === 18);
    sessions.end("c");
    assert.ok(calls.every(({ client, signal }) => signal.aborted === (client === "c")));
    sessions.close();
    assert.ok(calls.every(({ signal }) => signal.aborted));
  });

  it("are 64: the one that was silent for longest ends, and none that has a request open", async () => {
    const { sessions, calls, say, call, answersTo } = openSessions();
    call("busy", 1);
    await until("it runs", () => calls.length === 1);
    for (let index = 0; index < 100; index += 1) say(`idle${index}`, { id: 1, method: "ping" });
    await until("the last is answered", () => answersTo("idle62", 1).length === 1);
    assert.equal(calls[0]?.signal.aborted, false);
    assert.equal(answersTo("idle99", 1).length, 0);
    say("idle99", { id: 2, method: "ping" });
    await until("there is room again", () => answersTo("idle99", 2).length === 1);
    sessions.close();
  });

  it("say it if a result is too long to be sent, and hear only initialize elsewhere", async () => {
    const { sessions, calls, say, call, answersTo } = openSessions();
    call("c", 1, "long");
    await until("it is answered", () => answersTo("c", 1).length === 1);
    assert.match(String(answersTo("c", 1)[0]?.text), /too long for a message/);
    say("c", { id: 2, method: "tools/call", params: { name: "long" } }, true);
    call("c", 3, "long");
    await until("the next is answered", () => answersTo("c", 3).length === 1);
    assert.equal(calls.length, 2);
    sessions.close();
  });
});
