import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import { Confirmations } from "../../src/gateway/confirmations/confirmations.ts";
import type { Push } from "../../src/gateway/contract.ts";
import type { ConfirmationStore } from "../../src/store/contract/confirmations.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import { createTestStore } from "./setup.ts";

const DESK = { channel: "mqtt", client: "desk" };
const PHONE = { channel: "mqtt", client: "phone" };
const MINUTE_MS = 60_000;

function callOf(words: string, facts: object = {}) {
  return {
    ...DESK,
    tool: "exec",
    arguments: JSON.stringify({ command: words }),
    by: ["phone", "tablet"],
    milliseconds: 10 * MINUTE_MS,
    question: `"desk" asks to run exec: ${words}`,
    ...facts,
  };
}

async function openPlace(change: Partial<ConfirmationStore> = {}) {
  const clock = createManualClock();
  const store = { ...(await createTestStore(clock).confirmations()), ...change };
  const pushed: Push[] = [];
  let refusal: Failure | undefined;
  const open = () =>
    new Confirmations({
      store,
      clock,
      log: SILENT,
      push(push) {
        if (refusal !== undefined) return Promise.reject(refusal);
        // As a gateway: one id of one client is one push.
        if (!pushed.some(({ id, client }) => id === push.id && client === push.client)) {
          pushed.push(push);
        }
        return Promise.resolve("accepted");
      },
    });
  return {
    clock,
    store,
    pushed,
    open,
    refuse: (failure: Failure | undefined) => (refusal = failure),
    to: (client: string) => pushed.filter((push) => push.client === client),
  };
}

describe("a call that waits for a person", () => {
  it("is asked about at each client that may decide, and made by a turn of its client when one confirms", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    const { id, until } = await confirmations.ask(callOf("reboot"));
    assert.match(id, /^[2-9a-hjkmnp-z]{6}$/);
    assert.equal(until, place.clock.epoch() + 10 * MINUTE_MS);
    assert.deepEqual(
      place.pushed.map(({ client, ...push }) => [client, push.id, push.expiresAt]),
      ["phone", "tablet"].map((client) => [client, `confirm-${id}`, until]),
    );
    const [asked] = place.pushed;
    assert.ok(asked && "text" in asked && asked.whole);
    assert.match(asked.text, new RegExp(`^"desk" asks to run exec: reboot\nSend /confirm ${id} `));
    assert.equal((await confirmations.waitingFor(PHONE))[0]?.id, id);
    const decided = await confirmations.decide(id.toUpperCase(), "confirmed", PHONE);
    assert.equal(decided?.state, "confirmed");
    const [run] = place.to("desk");
    assert.ok(run && "prompt" in run);
    assert.deepEqual([run.from, run.confirmation, run.id], ["confirm", id, `confirmed-${id}`]);
    assert.deepEqual(await confirmations.waitingFor(PHONE), []);
    const begun = await confirmations.begin(id, DESK);
    assert.equal(begun?.isFirst, true);
    assert.equal(begun.call.arguments, '{"command":"reboot"}');
    assert.equal((await confirmations.begin(id, DESK))?.isFirst, false);
  });

  it("is not made when one refuses, whom nobody can overrule", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    const { id } = await confirmations.ask(callOf("reboot"));
    await confirmations.decide(id, "denied", { ...PHONE, client: "tablet" });
    const later = await confirmations.decide(id, "confirmed", PHONE);
    assert.equal(later?.decidedBy, "tablet");
    const [informed, ...more] = place.to("desk");
    assert.ok(informed && "text" in informed);
    assert.match(informed.text, /exec \(......\) was not made: tablet has refused it/);
    assert.deepEqual(more, []);
    assert.equal(await confirmations.begin(id, DESK), undefined);
  });

  it("is decided by the first of two who decide at once", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    const { id } = await confirmations.ask(callOf("reboot"));
    const decisions = await Promise.all([
      confirmations.decide(id, "denied", { ...PHONE, client: "tablet" }),
      confirmations.decide(id, "confirmed", PHONE),
    ]);
    assert.deepEqual(
      decisions.map((decided) => decided?.decidedBy),
      ["tablet", "tablet"],
    );
    assert.equal(place.to("desk").length, 1);
    assert.equal(await confirmations.begin(id, DESK), undefined);
  });

  it("is decided by nobody else: the client that asked, another one, or one of another channel", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    const { id } = await confirmations.ask(callOf("reboot"));
    const strangers = [DESK, { ...PHONE, client: "Phone" }, { ...PHONE, channel: "other" }];
    for (const by of strangers) {
      assert.equal(await confirmations.decide(id, "confirmed", by), undefined);
      assert.deepEqual(await confirmations.waitingFor(by), []);
    }
    assert.deepEqual(place.to("desk"), []);
    assert.equal((await place.store.find(id))?.state, "waiting");
  });

  it("is made by no turn before it is confirmed, and by none of another client", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    const { id } = await confirmations.ask(callOf("reboot"));
    assert.equal(await confirmations.begin(id, DESK), undefined);
    await confirmations.decide(id, "confirmed", PHONE);
    assert.equal(await confirmations.begin(id, PHONE), undefined);
    assert.equal(await confirmations.begin("222222", DESK), undefined);
    assert.ok(await confirmations.begin(id, DESK));
  });

  it("expires, is told then, and cannot be confirmed any more", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    confirmations.start();
    const { id } = await confirmations.ask(callOf("reboot"));
    await place.clock.advance(9 * MINUTE_MS);
    assert.deepEqual(place.to("desk"), []);
    await place.clock.advance(2 * MINUTE_MS);
    const [informed, ...more] = place.to("desk");
    assert.ok(informed && "text" in informed);
    assert.match(informed.text, /was not made: it was not confirmed/);
    assert.deepEqual(more, []);
    const late = await confirmations.decide(id, "confirmed", PHONE);
    assert.equal(late?.state, "informed");
    assert.equal(await confirmations.begin(id, DESK), undefined);
    confirmations.close();
    assert.equal(place.clock.timers, 0);
  });

  it("that is confirmed begins within ten minutes or never", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    confirmations.start();
    const { id } = await confirmations.ask(callOf("reboot"));
    await confirmations.decide(id, "confirmed", PHONE);
    await place.clock.advance(11 * MINUTE_MS);
    assert.equal(await confirmations.begin(id, DESK), undefined);
    assert.equal((await place.store.find(id))?.state, "informed");
    confirmations.close();
  });

  it("is asked about once when the model repeats it, and the model may not fill the store", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    const first = await confirmations.ask(callOf("reboot"));
    assert.equal((await confirmations.ask(callOf("reboot"))).id, first.id);
    assert.equal(place.to("phone").length, 1);
    for (const word of ["a", "b", "c", "d"]) await confirmations.ask(callOf(word));
    await assert.rejects(confirmations.ask(callOf("e")), { code: "busy" });
    await confirmations.ask(callOf("e", { client: "other" }));
  });

  it("is asked about anew when the model repeats it after its time", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    const first = await confirmations.ask(callOf("reboot"));
    await place.clock.advance(11 * MINUTE_MS);
    const second = await confirmations.ask(callOf("reboot"));
    assert.notEqual(second.id, first.id);
    assert.equal(place.to("phone").length, 2);
  });

  it("does not wait if nobody can be asked", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    place.refuse(new Failure("forbidden", "not allowed"));
    await assert.rejects(confirmations.ask(callOf("reboot")), { code: "busy" });
    assert.deepEqual(await place.store.open(), []);
  });

  it("is told to no client that may not ask any more, and holds up no other", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    const { id } = await confirmations.ask(callOf("reboot"));
    place.refuse(new Failure("forbidden", "not allowed"));
    await confirmations.decide(id, "denied", PHONE);
    assert.equal((await place.store.find(id))?.state, "informed");
  });

  it("that was denied is not told for ever where that cannot succeed", async () => {
    const place = await openPlace();
    const confirmations = place.open();
    const { id } = await confirmations.ask(callOf("reboot"));
    place.refuse(new Failure("internal", "no such channel"));
    await confirmations.decide(id, "denied", PHONE);
    assert.equal((await place.store.find(id))?.state, "denied");
    await place.clock.advance(25 * 60 * MINUTE_MS);
    confirmations.start();
    await settled();
    assert.equal((await place.store.find(id))?.state, "informed");
    confirmations.close();
  });

  for (const decision of ["confirmed", "denied"] as const)
    it(`that was ${decision} right before a crash, or while nothing could be pushed, is not forgotten`, async () => {
      const place = await openPlace();
      const dying = place.open();
      const { id } = await dying.ask(callOf("reboot"));
      place.refuse(new Failure("busy", "the disk is full"));
      await dying.decide(id, decision, PHONE);
      assert.deepEqual(place.to("desk"), []);
      place.refuse(undefined);
      const next = place.open();
      next.start();
      await settled();
      assert.equal(place.to("desk").length, 1);
      await place.clock.advance(MINUTE_MS);
      assert.equal(place.to("desk").length, 1);
      next.close();
    });
});
