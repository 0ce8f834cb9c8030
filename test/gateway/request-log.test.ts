import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import type { RequestRecord } from "../../src/gateway/request-log.ts";
import { statusOf } from "../../src/gateway/statistics/status.ts";
import { spansOf } from "../../src/gateway/tracing/spans.ts";
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
    assert.equal(lines[0]?.fields["outcome"], "undelivered");
    assert.equal(lines[0]?.fields["undelivered"], "the answer came too late");
    assert.equal(lines.length, 2);
  });

  for (const [code, outcome] of [
    ["refused", "refused"],
    ["expired", "undelivered"],
  ] as const) {
    it(`has the outcome ${outcome}, as statistics and traces, for an answer that is ${code}`, async () => {
      const records: RequestRecord[] = [];
      const trace = (entry: RequestRecord): unknown => records.push(entry);
      const { gateway, lines } = createTestGateway(shout, { trace });
      const lost = ask("one", {}, () => {
        throw new Failure(code, "the answer did not get there");
      });
      void gateway.accept(lost.request);
      await settled();
      const [line] = lines;
      assert.deepEqual([line?.level, line?.message], ["warn", "answer not delivered"]);
      assert.equal(line?.fields["outcome"], outcome);
      assert.match(String(line?.fields["undelivered"]), /did not get there/);
      const nowhere = {
        pid: 1,
        instance: "0123456789ab",
        channels: [],
        agent: {},
        problem: undefined,
      };
      const { requests, recent } = statusOf(gateway.report(), nowhere);
      assert.deepEqual(requests[0]?.outcomes, { [outcome]: 1 });
      assert.equal(recent[0]?.outcome, outcome);
      const [record = assert.fail()] = records;
      const [root] = spansOf(record, { agent: "assistant", endedAt: 1, origin: 0 });
      assert.deepEqual(root?.status, { code: 2, message: "the answer did not get there" });
      const error = root.attributes.find(({ key }) => key === "error.type");
      assert.deepEqual(error?.value, { stringValue: outcome });
    });
  }
});
