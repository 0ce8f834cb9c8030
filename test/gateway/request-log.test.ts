import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { ask } from "./client.ts";
import { settled } from "./manual-clock.ts";
import { createTestGateway, shout } from "./setup.ts";

describe("the log", () => {
  it("writes one line a request, and not a word of what was said", async () => {
    const { gateway, lines, clock } = createTestGateway(async function* ({ text }) {
      yield text;
      await new Promise<void>((resolve) => {
        clock.after(300, resolve);
      });
      yield "!";
      return { messages: [], usage: { inputTokens: 11, outputTokens: 22 } };
    });
    void gateway.accept(ask("secret words", { id: "r-1" }).request);
    void gateway.accept(ask("more secret words").request);
    await clock.advance(1000);
    assert.equal(lines.length, 2);
    const [line] = lines;
    assert.equal(line?.level, "info");
    const said = Object.entries(line?.fields ?? {}).filter(([, value]) => value !== undefined);
    assert.deepEqual(Object.fromEntries(said), {
      id: "r-1",
      channel: "mqtt",
      client: "device",
      outcome: "ok",
      queued_ms: 0,
      first_ms: 250,
      last_ms: 300,
      parts: 2,
      tokens_in: 11,
      tokens_out: 22,
    });
    assert.equal(lines[1]?.fields["queued_ms"], 300);
    assert.doesNotMatch(JSON.stringify(lines), /secret/);
  });

  it("logs questions and answers with `logContent`", async () => {
    const { gateway, lines } = createTestGateway(shout, { logContent: true });
    const asked = ask("words");
    void gateway.accept(asked.request);
    await asked.done;
    await settled();
    assert.equal(lines[0]?.fields["question"], "words");
    assert.equal(lines[0]?.fields["answer"], "WORDS");
  });

  it("says in the log that an answer could not be delivered, and goes on with the next", async () => {
    const { gateway, lines } = createTestGateway(shout);
    const lost = ask("one", {}, () => {
      throw new Failure("expired", "the answer came too late");
    });
    const next = ask("two");
    void gateway.accept(lost.request);
    void gateway.accept(next.request);
    await next.done;
    await settled();
    assert.equal(lines[0]?.level, "warn");
    assert.equal(lines[0]?.fields["outcome"], "ok");
    assert.equal(lines[0]?.fields["undelivered"], "the answer came too late");
    assert.equal(lines.length, 2);
  });

  it("says of an answer that the broker refuses that it was refused", async () => {
    const { gateway, lines } = createTestGateway(shout);
    const refused = ask("one", {}, () => {
      throw new Failure("refused", "the broker refused the message: not authorized");
    });
    void gateway.accept(refused.request);
    await settled();
    const [line] = lines;
    assert.deepEqual([line?.level, line?.message], ["warn", "answer not delivered"]);
    assert.equal(line?.fields["outcome"], "refused");
    assert.match(String(line?.fields["undelivered"]), /not authorized/);
  });
});
