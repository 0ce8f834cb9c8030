import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FULL_ACCESS } from "../../../src/agent/access/permissions.ts";
import { createMessageTool } from "../../../src/agent/tools/message.ts";
import { runTool } from "../../../src/agent/tools/run.ts";
import { createLeakWatch } from "../../../src/agent/tools/web/secret-leak.ts";
import { Failure } from "../../../src/base/failure.ts";
import { callContext } from "../../support/agent-config.ts";

const SECRET = "sk-live-0123456789abcdef";

function createTool(refusal?: Failure) {
  const sent: unknown[] = [];
  let now = 0;
  const tool = createMessageTool(
    {
      async send(message) {
        if (refusal !== undefined) throw refusal;
        sent.push(message);
      },
    },
    createLeakWatch([SECRET]),
    () => now,
  );
  return {
    sent,
    pass: (ms: number) => (now += ms),
    call: (
      input: object,
      { client = "desk", messageTo = [] as string[], isRemote = true } = {},
    ) => {
      const call = { id: "1", name: "message", arguments: JSON.stringify(input) };
      const who = { ...callContext(), client, owner: client, channel: "mqtt", isRemote };
      const permissions = { ...FULL_ACCESS, messageTo };
      return runTool(call, { tools: [tool], ...who, permissions });
    },
  };
}

describe("the tool message", () => {
  it("writes to the client that it talks with, by default and by its name", async () => {
    const { sent, call } = createTool();
    const said = await call({ content: " hello ", to: "panel-1" });
    assert.equal(said, "[sent to desk: do not repeat it in your answer]");
    await call({ content: "again", chat_id: "desk", channel: "mqtt" });
    assert.deepEqual(sent, [
      { channel: "mqtt", client: "desk", text: "hello" },
      { channel: "mqtt", client: "desk", text: "again" },
    ]);
  });

  it("writes to others that the profile names, and says whose message it is", async () => {
    const { sent, call } = createTool();
    const said = await call({ content: "hello", chat_id: "panel-1" }, { messageTo: ["panel-*"] });
    assert.equal(said, "[sent to panel-1]");
    await call({ content: "hello", chat_id: "desk", channel: "other" }, { messageTo: ["desk"] });
    assert.deepEqual(sent, [
      { channel: "mqtt", client: "panel-1", text: "desk: hello" },
      { channel: "other", client: "desk", text: "desk: hello" },
    ]);
    const refused = await call({ content: "x", chat_id: "kitchen" }, { messageTo: ["panel-*"] });
    assert.match(refused, /^error: .*may not write to kitchen/);
    assert.match(await call({ content: "x", channel: "other" }), /^error: .*may not write to desk/);
    for (const chat_id of ["a/b", "#"]) {
      const unsent = await call({ content: "x", chat_id }, { messageTo: ["*"] });
      assert.match(unsent, /^error: no client can be called /);
    }
    assert.equal(sent.length, 2);
  });

  it("sends neither secrets, nor nothing, nor anything to who is at the machine", async () => {
    const { sent, call } = createTool();
    assert.match(await call({ content: `the key is ${SECRET}` }), /^error: nothing was sent/);
    assert.match(await call({ content: " \n" }), /^error: /);
    assert.match(await call({ content: "x" }, { isRemote: false }), /^error: /);
    assert.deepEqual(sent, []);
  });

  it("sends ten messages of one caller a minute", async () => {
    const { sent, call, pass } = createTool();
    for (let count = 0; count < 11; count += 1) await call({ content: `${count}` });
    assert.equal(sent.length, 10);
    await call({ content: "of another" }, { client: "other" });
    assert.equal(sent.length, 11);
    pass(60_000);
    await call({ content: "later" });
    assert.equal(sent.length, 12);
  });

  it("tells the model why a message was not taken", async () => {
    const { call } = createTool(new Failure("busy", "too many requests are waiting"));
    assert.equal(
      await call({ content: "x" }),
      "error: nothing was sent: too many requests are waiting",
    );
  });
});
