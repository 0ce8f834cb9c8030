import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Turned } from "../../src/gateway/contract.ts";
import { ask, createGate } from "./client.ts";
import type { Asked } from "./client.ts";
import { settled } from "./manual-clock.ts";
import { createManualAnswerer, createTestGateway, NO_LIMITS, shout } from "./setup.ts";

const forever = (): Promise<never> => new Promise(() => {});

/** Ignores its signal. */
async function* deaf({ text }: { readonly text: string }): AsyncGenerator<string, Turned<string>> {
  if (text === "quick") return { messages: [] };
  yield "thinking ";
  return forever();
}

describe("deadlines", () => {
  it("do not run what expired before it came, or while it waited", async () => {
    const { answer, began, end } = createManualAnswerer();
    const { gateway, clock } = createTestGateway(answer, { maxParallelTurns: 1 });
    const late = ask("late", { expiresAt: clock.epoch() });
    void gateway.accept(late.request);
    assert.equal((await late.done).error?.code, "expired");
    const long = ask("long", { client: "a" });
    const behind = ask("behind", { client: "a", expiresAt: clock.epoch() });
    const waiting = ask("waiting", { client: "b", expiresAt: clock.epoch() + 1000 });
    const next = ask("next", { client: "b", expiresAt: clock.epoch() + 2000 });
    for (const { request } of [long, behind, waiting, next]) void gateway.accept(request);
    assert.equal((await behind.done).error?.code, "expired");
    await clock.advance(1000);
    end();
    assert.equal((await waiting.done).error?.code, "expired");
    await settled();
    end();
    assert.equal((await next.done).text, "answer to next");
    assert.deepEqual(began, ["long", "next"]);
  });

  it("end a turn that takes too long, at its own deadline or the request's", async () => {
    const { answer } = createManualAnswerer();
    const { gateway, clock } = createTestGateway(answer, { turnTimeoutMs: 10_000 });
    const patient = ask("a", { client: "a", expiresAt: clock.epoch() + 60_000 });
    const hasty = ask("b", { client: "b", expiresAt: clock.epoch() + 3000 });
    void gateway.accept(patient.request);
    void gateway.accept(hasty.request);
    await clock.advance(2999);
    assert.equal(hasty.parts.length, 0);
    await clock.advance(1);
    assert.equal(hasty.parts[0]?.error?.code, "timeout");
    await clock.advance(6999);
    assert.equal(patient.parts.length, 0);
    await clock.advance(1);
    assert.equal(patient.parts[0]?.error?.code, "timeout");
  });

  it("leave an answerer behind that does not obey, and go on", async () => {
    const { gateway, clock, lines } = createTestGateway(deaf, {
      turnTimeoutMs: 1000,
      maxParallelTurns: 1,
    });
    const stuck = ask("stuck");
    const next = ask("quick");
    void gateway.accept(stuck.request);
    void gateway.accept(next.request);
    await clock.advance(5999);
    assert.equal(stuck.parts.at(-1)?.done, undefined);
    await clock.advance(1);
    const last = await stuck.done;
    assert.deepEqual(
      stuck.parts.map(({ text }) => text),
      ["thinking ", "the answer took too long and was stopped"],
    );
    assert.equal(last.error?.code, "timeout");
    assert.deepEqual(await next.done, { text: "", done: true });
    assert.equal(lines[0]?.fields["abandoned"], true);
    assert.equal(clock.timers, 0);
  });

  it("ignore what an answerer says after its turn was cancelled", async () => {
    const { gateway, clock } = createTestGateway(
      async function* ({ signal }) {
        yield "before ";
        await new Promise<void>((resolve) => {
          signal.addEventListener("abort", () => resolve());
        });
        yield "after";
        return { messages: ["after"] };
      },
      { turnTimeoutMs: 1000 },
    );
    const asked = ask("?");
    void gateway.accept(asked.request);
    await clock.advance(1000);
    assert.equal((await asked.done).error?.code, "timeout");
    assert.doesNotMatch(asked.text(), /after/);
  });
});

/** The command, with another address than the requests. */
function stop(text: string, facts = {}): Asked {
  return ask(text, { address: "/stop", ...facts });
}

describe("a turn that was cancelled", () => {
  const ways: Record<string, (signal: AbortSignal) => Turned<string>> = {
    "returns as if nothing were": () => ({ messages: ["kept"] }),
    "throws something of its own": () => {
      throw new DOMException("aborted by hand", "AbortError");
    },
    "throws the reason": (signal) => {
      throw signal.reason;
    },
  };
  for (const [way, end] of Object.entries(ways)) {
    it(`ends as told when the answerer ${way}`, async () => {
      const histories: (readonly string[])[] = [];
      const { gateway, clock } = createTestGateway(
        async function* ({ history, signal }) {
          histories.push(await history());
          yield "so far ";
          await new Promise<void>((resolve) => {
            signal.addEventListener("abort", () => resolve());
          });
          return end(signal);
        },
        { turnTimeoutMs: 1000 },
      );
      for (const asked of [ask("1"), ask("2")]) {
        void gateway.accept(asked.request);
        await clock.advance(1000);
        assert.equal((await asked.done).error?.code, "timeout");
      }
      assert.deepEqual(histories, [[], []]);
    });
  }
});

describe("/stop", () => {
  it("overtakes the queue and cancels all that this client asked, in order, and nobody else's", async () => {
    const { answer, began, running, end } = createManualAnswerer();
    const { gateway } = createTestGateway(answer);
    const mine = ["1", "2", "3"].map((text) => ask(text));
    const other = ask("other", { client: "other" });
    for (const { request } of [...mine, other]) void gateway.accept(request);
    await settled();
    const command = stop(" /STOP\n");
    void gateway.accept(command.request);
    assert.deepEqual(await command.done, { text: "Stopped.", done: true });
    for (const { done } of mine) assert.equal((await done).error?.code, "cancelled");
    assert.deepEqual(began, ["1", "other"]);
    assert.equal(running(), 1);
    const next = ask("4");
    void gateway.accept(next.request);
    await settled();
    end();
    end();
    assert.equal((await next.done).text, "answer to 4");
    assert.equal((await other.done).error, undefined);
  });

  it("says so when there is nothing to stop, and is a question when it is more than that word", async () => {
    const { gateway } = createTestGateway(shout);
    const nothing = stop("!stop");
    void gateway.accept(nothing.request);
    assert.equal((await nothing.done).text, "Nothing to stop.");
    for (const text of ["stop", "/stop it", "please /stop", "/ stop"]) {
      const asked = ask(text);
      void gateway.accept(asked.request);
      assert.equal((await asked.done).text, text.toUpperCase());
    }
  });

  it("needs neither room nor a token, and cancels at once what waits without a slot", async () => {
    const { answer } = createManualAnswerer();
    const limits = { ...NO_LIMITS, requests_per_minute: 1, burst: 1, queued: 1 };
    const { gateway } = createTestGateway(answer, { maxParallelTurns: 1, policy: { limits } });
    void gateway.accept(ask("long", { client: "other" }).request);
    const waiting = ask("waiting");
    void gateway.accept(waiting.request);
    void gateway.accept(stop("/stop").request);
    assert.equal((await waiting.done).error?.code, "cancelled");
  });

  it("delivered a second time does not stop what was asked after it", async () => {
    const { answer, end } = createManualAnswerer();
    const { gateway } = createTestGateway(answer);
    const first = stop("/stop");
    void gateway.accept(first.request);
    await first.done;
    const asked = ask("later");
    void gateway.accept(asked.request);
    await settled();
    const second = stop("/stop", { redelivered: true });
    void gateway.accept(second.request);
    assert.deepEqual(await second.done, await first.done);
    end();
    assert.equal((await asked.done).text, "answer to later");
  });

  it("leaves an answer alone that is only on its way", async () => {
    const { gateway } = createTestGateway(shout);
    const gate = createGate();
    const asked = ask("a", {}, gate.deliver);
    void gateway.accept(asked.request);
    await settled();
    const command = stop("/stop");
    void gateway.accept(command.request);
    assert.equal((await command.done).text, "Nothing to stop.");
    gate.open();
    assert.equal((await asked.done).text, "A");
  });
});
