import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Answerer } from "../../src/gateway/contract.ts";
import { ask, createGate } from "./client.ts";
import { settled } from "./manual-clock.ts";
import { createManualAnswerer, createTestGateway, NO_LIMITS, shout } from "./setup.ts";

describe("what is refused", () => {
  it("is busy when the client's queue is full, at once, and succeeds when it asks again later", async () => {
    const { answer, end, began } = createManualAnswerer();
    const { gateway } = createTestGateway(answer, {
      policy: { limits: { ...NO_LIMITS, queued: 2 } },
    });
    const asked = [1, 2, 3, 4].map((number) =>
      ask(`${number}`, { key: `k${number}`, id: `r-${number}` }),
    );
    for (const { request } of asked) {
      void gateway.accept(request);
      await settled();
    }
    const refused = await (asked[3]?.done ?? assert.fail());
    assert.equal(refused.error?.code, "busy");
    assert.ok((refused.error?.retryAfter ?? 0) >= 1);
    assert.match(
      refused.error?.message ?? "",
      /: request r-1 has run for 0 s, and 2 of this client wait behind it$/,
    );
    assert.equal(asked[0]?.parts.length, 0);
    const other = ask("other", { client: "other" });
    void gateway.accept(other.request);
    await settled();
    assert.deepEqual(began, ["1", "other"]);
    for (let turn = 0; turn < 4; turn++) {
      end();
      await settled();
    }
    const again = ask("4", { key: "k4" });
    void gateway.accept(again.request);
    await settled();
    end();
    assert.equal((await again.done).text, "answer to 4");
  });

  it("is busy when too many wait in all, or in the channel, and leaves what waits alone", async () => {
    const { answer } = createManualAnswerer();
    const all = createTestGateway(answer, { maxParallelTurns: 1 });
    const crowd = Array.from({ length: 1100 }, (_, client) => ask("?", { client: `c${client}` }));
    for (const { request } of crowd) void all.gateway.accept(request);
    await settled();
    assert.equal(crowd.filter(({ parts }) => parts[0]?.error?.code === "busy").length, 1100 - 1025);

    const totalLimits = { ...NO_LIMITS, queued: 10 };
    const some = createTestGateway(answer, { maxParallelTurns: 1, policy: { totalLimits } });
    const few = Array.from({ length: 20 }, (_, client) => ask("?", { client: `c${client}` }));
    for (const { request } of few) void some.gateway.accept(request);
    await settled();
    const busy = few.filter(({ parts }) => parts[0]?.error?.code === "busy");
    assert.equal(busy.length, 9);
    assert.match(busy[0]?.parts[0]?.error?.message ?? "", /: requests of other clients run \(1\)$/);
  });

  it("is busy when the texts, or the images, that wait are too long together", async () => {
    const long = "x".repeat(262_143);
    const images = [{ mediaType: "image/png", data: long }] as const;
    for (const [text, facts] of [
      [`${long}x`, {}],
      ["x", { extras: { images } }],
    ] as const) {
      const { answer } = createManualAnswerer();
      const { gateway } = createTestGateway(answer, { maxParallelTurns: 1 });
      const large = Array.from({ length: 40 }, (_, client) =>
        ask(text, { ...facts, client: `c${client}` }),
      );
      for (const { request } of large) void gateway.accept(request);
      await settled();
      assert.equal(large.filter(({ parts }) => parts[0]?.error?.code === "busy").length, 7);
    }
  });

  it("is busy when too many answers wait for their delivery", async () => {
    const { gateway } = createTestGateway(shout);
    const gate = createGate();
    const lost = Array.from({ length: 1024 }, (_, client) =>
      ask("?", { client: `c${client}` }, gate.deliver),
    );
    for (const { request } of lost) {
      void gateway.accept(request);
      await Promise.resolve();
    }
    // Sixteen concurrent turns.
    for (let turns = 0; turns < lost.length; turns += 16) await settled();
    assert.ok(lost.every(({ parts }) => parts.length === 1 && !parts[0]?.error));
    const refused = ask("?", { client: "one more" });
    void gateway.accept(refused.request);
    assert.equal((await refused.done).error?.code, "busy");
    gate.open();
    await settled();
    const served = ask("a", { client: "one more" });
    void gateway.accept(served.request);
    assert.equal((await served.done).text, "A");
  });

  it("frees the room again with every delivery", async () => {
    const { gateway } = createTestGateway(shout, {
      policy: { limits: { ...NO_LIMITS, queued: 1 } },
    });
    for (let round = 0; round < 3000; round++) {
      const asked = ask("a", { client: `${round % 7}` });
      void gateway.accept(asked.request);
      assert.equal((await asked.done).text, "A");
    }
  });

  it("is rate_limited when the client asks too often, until `retry_after`", async () => {
    const limits = { ...NO_LIMITS, requests_per_minute: 60, burst: 2, queued: 0 };
    const { gateway, clock } = createTestGateway(shout, { policy: { limits } });
    const askOnce = async (client: string) => {
      const asked = ask("a", { client, key: "k" });
      void gateway.accept(asked.request);
      return (await asked.done).error;
    };
    assert.equal(await askOnce("a"), undefined);
    assert.equal(await askOnce("a"), undefined);
    const error = await askOnce("a");
    assert.deepEqual([error?.code, error?.retryAfter], ["rate_limited", 1]);
    assert.equal(await askOnce("b"), undefined);
    await clock.advance(1000);
    assert.equal(await askOnce("a"), undefined);
  });

  it("is budget once it is used up: nothing is begun, and no token of the rate is taken", async () => {
    const limits = { ...NO_LIMITS, tokens_per_day: 10, requests_per_minute: 1, burst: 2 };
    let turns = 0;
    const spending: Answerer<string> = (turn) => {
      turns += 1;
      const isCommand = turn.text.startsWith("/");
      if (!isCommand) turn.allowance?.begin({ inputTokens: 10, outputTokens: 0, cost: 0 });
      return shout(turn);
    };
    const { gateway } = createTestGateway(spending, { policy: { limits } });
    const codes: (string | undefined)[] = [];
    for (const text of ["a", "b", "c", "/status"]) {
      const asked = ask(text);
      void gateway.accept(asked.request);
      codes.push((await asked.done).error?.code);
    }
    // A command takes a token, and the second one is still there.
    assert.deepEqual(codes, [undefined, "budget", "budget", undefined]);
    assert.equal(turns, 2);
  });

  it("is rate_limited when the channel as a whole is asked too often", async () => {
    const totalLimits = { ...NO_LIMITS, requests_per_minute: 60, burst: 3, queued: 0 };
    const { gateway } = createTestGateway(shout, { policy: { totalLimits } });
    const asked = Array.from({ length: 5 }, (_, client) => ask("a", { client: `${client}` }));
    for (const { request } of asked) void gateway.accept(request);
    await settled();
    const codes = asked.map(({ parts }) => parts.at(-1)?.error?.code);
    assert.deepEqual(codes, [undefined, undefined, undefined, "rate_limited", "rate_limited"]);
  });

  it("is forbidden for a client that is not on the list, which gets one answer a minute", async () => {
    const { gateway, clock, lines } = createTestGateway(shout, {
      policy: { allowFrom: ["friend"] },
    });
    const tries = Array.from({ length: 5 }, () => ask("/stop", { client: "stranger" }));
    for (const { request } of tries) void gateway.accept(request);
    const friend = ask("hello", { client: "friend" });
    void gateway.accept(friend.request);
    assert.equal((await friend.done).text, "HELLO");
    await settled();
    assert.deepEqual(
      tries.map(({ parts }) => parts.length),
      [1, 0, 0, 0, 0],
    );
    assert.equal(tries[0]?.parts[0]?.error?.code, "forbidden");
    await clock.advance(60_000);
    const later = ask("?", { client: "stranger" });
    void gateway.accept(later.request);
    await later.done;
    await settled();
    const warnings = lines.filter(({ level }) => level === "warn");
    assert.deepEqual(
      warnings.map(({ fields }) => fields["passed_over"]),
      [undefined, 4],
    );
    assert.equal(lines.filter(({ level }) => level === "debug").length, 4);
  });

  it("lets nobody who is denied stop a turn, in whatever case the name is written", async () => {
    const { answer, running } = createManualAnswerer();
    const { gateway } = createTestGateway(answer, { policy: { denyFrom: ["thief"] } });
    for (const client of ["owner", "Thief"]) void gateway.accept(ask("work", { client }).request);
    await settled();
    assert.equal(running(), 2);
    const tries = ["/stop", "!STOP", " /stop "].map((text) => ask(text, { client: "thief" }));
    for (const { request } of tries) void gateway.accept(request);
    await settled();
    assert.equal(running(), 2);
    assert.deepEqual(
      tries.flatMap(({ parts }) => parts.map(({ error }) => error?.code)),
      ["forbidden"],
    );
  });

  it("is the answer to each of a thousand requests at once, of one client, at QoS 0", async () => {
    const { answer } = createManualAnswerer();
    const { gateway } = createTestGateway(answer, {
      policy: { limits: { ...NO_LIMITS, queued: 1 } },
    });
    const asked = Array.from({ length: 1000 }, (_, number) => ask(`${number}`));
    for (const { request } of asked) void gateway.accept(request);
    for (const { done } of asked.slice(2)) assert.equal((await done).error?.code, "busy");
  });

  it("costs little in a flood: replies on their way are bounded, the rest is counted once a minute", async () => {
    const { answer } = createManualAnswerer();
    const { gateway, clock, lines } = createTestGateway(answer, {
      policy: { limits: { ...NO_LIMITS, queued: 1 } },
    });
    const gate = createGate();
    let replies = 0;
    const flood = (client: string) => {
      for (let number = 0; number < 3000; number++) {
        const { request } = ask(`${number}`, { client }, () => {
          replies++;
          return gate.deliver();
        });
        void gateway.accept(request);
      }
    };
    flood("flood");
    await settled();
    assert.equal(replies, 16);
    const other = ask("b", { client: "b" });
    void gateway.accept(other.request);
    void gateway.accept(ask("b", { client: "b" }).request);
    const refused = ask("b", { client: "b" });
    void gateway.accept(refused.request);
    assert.equal((await refused.done).error?.code, "busy");
    await clock.advance(60_000);
    const counted = lines.filter(({ message }) => message.startsWith("dropped replies"));
    assert.deepEqual(
      counted.map(({ fields }) => fields["count"]),
      [2998 - 16 - 1024],
    );
    gate.open();
    await settled();
    const after = ask("?", { client: "flood" });
    void gateway.accept(after.request);
    await settled();
    assert.equal(after.parts[0]?.error, undefined);
  });
});
