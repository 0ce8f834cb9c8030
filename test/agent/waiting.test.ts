import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { until } from "../support/until.ts";
import { openLongConversation, ROUNDS } from "./long-conversation.ts";

describe("while 500 messages are summarized", () => {
  it("a request waits for the one question to the model that is under way", async () => {
    await using conversation = await openLongConversation(60);
    const { store, lane, begun, summaries } = conversation;
    await conversation.say("talker", "the first").done;
    await until("a summary is under way", () => summaries() > 0);
    for (const [client, text] of [
      ["talker", "from the same client"],
      ["other", "from another client"],
    ] as const) {
      const before = summaries();
      const from = begun.length;
      await conversation.say(client, text).done;
      assert.equal(begun.indexOf(text), from, `${text}: ${begun.join(", ")}`);
      await until("the next summary is under way", () => summaries() > before);
    }
    await until(
      "it is summarized",
      async () => (await store.conversation(lane)).summary !== undefined,
    );
    assert.ok(summaries() >= 4, `only ${summaries()} portions`);
    assert.ok((await store.history(lane)).length < 20);
  });

  it("a request that asks the model several times waits no longer than that", async () => {
    await using conversation = await openLongConversation(60);
    const { begun, summaries } = conversation;
    await conversation.say("talker", "the first").done;
    await until("a summary is under way", () => summaries() > 0);
    const from = begun.length;
    const both = [
      conversation.say("talker", "work for one"),
      conversation.say("other", "work for another"),
    ];
    await Promise.all(both.map(({ done }) => done));
    const asked = begun.slice(from);
    assert.equal(asked.filter((what) => what === "work for one").length, ROUNDS + 1);
    assert.equal(asked.filter((what) => what === "work for another").length, ROUNDS + 1);
    const last = Math.max(...both.map(({ request }) => asked.lastIndexOf(request.text)));
    const between = asked.slice(0, last).filter((what) => what === "summary");
    assert.deepEqual(between, [], asked.join(", "));
    await until("the next summary is under way", () => summaries() > 1);
  });
});
