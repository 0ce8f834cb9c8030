import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { Packet } from "mqtt";
import { Failure } from "../../src/base/failure.ts";
import { Publisher, type AttachedLink, type PublisherLink } from "../../src/mqtt/client/publish.ts";
import type { Outgoing } from "../../src/mqtt/protocol/message.ts";
import { publishTopic } from "../../src/mqtt/protocol/topics.ts";
import { runs } from "../support/runs.ts";
import { until } from "../support/until.ts";

const TOPIC = publishTopic("a/b");
const message = (payload: string, qos: 0 | 1 | 2): Outgoing => ({ topic: TOPIC, payload, qos });

/** The other end of one connection: what was written, and what was aborted. */
function openLink(more: Partial<PublisherLink> = {}) {
  const written: Packet[] = [];
  const aborted: string[] = [];
  const expected = new Set<string>();
  const link: PublisherLink = {
    protocol: 5,
    resumed: true,
    receiveMaximum: 65_535,
    maximumQos: 2,
    write(packet, done) {
      written.push(packet);
      done?.();
    },
    expect(what) {
      const name = `${what} ${written.length}`;
      expected.add(name);
      return () => void expected.delete(name);
    },
    abort: (reason) => void aborted.push(reason),
    ...more,
  };
  return { link, written, aborted, expected };
}

const short = (packets: readonly Packet[]): string[] =>
  packets.map((packet) =>
    packet.cmd === "publish"
      ? `${String(packet.payload)} ${packet.messageId}${packet.dup ? " dup" : ""}`
      : `${packet.cmd} ${packet.messageId}`,
  );

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = {};
  promise.catch(() => {});
  await new Promise((resolve) => setImmediate(resolve));
  return (await Promise.race([promise.catch(() => {}), Promise.resolve(pending)])) !== pending;
}

const puback = (messageId: number, reasonCode = 0): Packet => ({
  cmd: "puback",
  messageId,
  reasonCode,
});
const pubrec = (messageId: number, reasonCode = 0): Packet => ({
  cmd: "pubrec",
  messageId,
  reasonCode,
});
const pubcomp = (messageId: number): Packet => ({ cmd: "pubcomp", messageId });

describe("publishes that are not acknowledged", () => {
  it("go again in their order under their own ids, before new ones, PUBREL where PUBREC came", async () => {
    const publisher = new Publisher(false);
    const first = openLink();
    const linked = publisher.attach(first.link);
    const all = (["a", "b", "c"] as const).map((text, index) =>
      publisher.publish(message(text, index === 1 ? 1 : 2)),
    );
    assert.deepEqual(short(first.written), ["a 1", "b 2", "c 3"]);
    linked.take(pubrec(1));
    assert.equal(short(first.written).at(-1), "pubrel 1");
    linked.detach();
    all.push(publisher.publish(message("d", 2)));
    const second = openLink();
    const again = publisher.attach(second.link);
    assert.deepEqual(short(second.written), ["pubrel 1", "b 2 dup", "c 3 dup", "d 4"]);
    for (const packet of [pubcomp(1), puback(2), pubrec(3), pubcomp(3), pubrec(4)])
      again.take(packet);
    await Promise.all(all.slice(0, 3));
    assert.equal(await isSettled(all[3] ?? Promise.resolve()), false);
    again.take(pubcomp(4));
    await Promise.all(all);
    assert.equal(second.expected.size, 0);
  });

  it("are new ones where the broker forgot our session, also those that wait for PUBCOMP", async () => {
    const publisher = new Publisher(false);
    const first = openLink();
    const linked = publisher.attach(first.link);
    const all = ["a", "b"].map((text) => publisher.publish(message(text, 2)));
    linked.take(pubrec(1));
    linked.detach();
    const second = openLink({ resumed: false });
    const again = publisher.attach(second.link);
    again.open();
    assert.deepEqual(short(second.written), ["a 1", "b 2"]);
    // Of the connection before: no answer to what was sent on this one.
    linked.take(pubrec(1));
    again.take(pubcomp(1));
    assert.equal(second.written.length, 2);
    for (const id of [1, 2]) again.take(pubrec(id));
    for (const id of [1, 2]) again.take(pubcomp(id));
    await Promise.all(all);
  });

  it("wait for our subscriptions on a new session, but for what is published meanwhile to be early", async () => {
    const publisher = new Publisher(false);
    publisher.attach(openLink().link);
    const said = publisher.publish(message("a", 1));
    const second = openLink({ resumed: false });
    const linked = publisher.attach(second.link);
    const later = publisher.publish(message("b", 0));
    const early = publisher.publish(message("online", 1), undefined, true);
    assert.deepEqual(short(second.written), ["online 2"]);
    linked.take(puback(2));
    await early;
    await publisher.idle();
    assert.equal(await isSettled(later), false);
    linked.open();
    assert.deepEqual(short(second.written), ["online 2", "a 1", "b 0"]);
    linked.take(puback(1));
    await Promise.all([said, later]);
  });

  it("keep their id when nobody waits any more, and are forgotten with the broker's session", async () => {
    const publisher = new Publisher(false);
    const first = openLink({ receiveMaximum: 1 });
    const linked = publisher.attach(first.link);
    const stop = new AbortController();
    const given = [1, 2].map((n) => publisher.publish(message(`${n}`, 2), stop.signal));
    stop.abort(new Failure("expired", "too late"));
    for (const one of given) await assert.rejects(one, { code: "expired" });
    await assert.rejects(publisher.publish(message("x", 1), stop.signal), { code: "expired" });
    const other = publisher.publish(message("other", 2));
    assert.deepEqual(short(first.written), ["1 1"]);
    linked.detach();
    const second = openLink();
    publisher.attach(second.link);
    assert.deepEqual(short(second.written), ["1 1 dup", "other 2"]);
    const third = openLink({ resumed: false });
    const last = publisher.attach(third.link);
    last.open();
    assert.deepEqual(short(third.written), ["other 2"]);
    last.take(puback(2));
    await other;
  });

  it("of QoS 0 wait while the connection takes no more, with a bound, and for the next one", async () => {
    const publisher = new Publisher(false);
    const written: (() => void)[] = [];
    const full = openLink({ write: (_packet, done) => void (done && written.push(done)) });
    publisher.attach(full.link);
    const all = Array.from({ length: 50 }, (_, index) => publisher.publish(message(`${index}`, 0)));
    assert.equal(written.length, 20);
    assert.equal(await isSettled(all[0] ?? Promise.resolve()), false);
    written[0]?.();
    await all[0];
    assert.equal(written.length, 21);
    const open = openLink({ resumed: false });
    publisher.attach(open.link).open();
    await Promise.all(all);
    assert.deepEqual(
      open.written.map((packet) => packet.cmd === "publish" && String(packet.payload)),
      Array.from({ length: 49 }, (_, index) => `${index + 1}`),
    );
  });

  it("are rejected at the end, and so is what comes later", async () => {
    const publisher = new Publisher(false);
    publisher.attach(openLink({ receiveMaximum: 1 }).link);
    const all = [1, 2].map((n) => publisher.publish(message(`${n}`, 1)));
    publisher.end(new Failure("unreachable", "over"));
    all.push(publisher.publish(message("later", 0)));
    for (const one of all) await assert.rejects(one, { message: "over" });
    await publisher.idle();
  });
});

/** One connection, on which all is acknowledged but "b": there it ends. Returns what was sent. */
function lose(publisher: Publisher, byBroker: boolean): string[] {
  const { link, written } = openLink();
  const linked = publisher.attach(link);
  for (const packet of written) {
    if (packet.cmd !== "publish") linked.take(pubcomp(packet.messageId ?? 0));
    else if (String(packet.payload) === "b") break;
    else linked.take((packet.qos === 1 ? puback : pubrec)(packet.messageId ?? 0));
  }
  linked.detach(byBroker);
  return short(written);
}

describe("a publish that ends each connection", () => {
  for (const qos of [1, 2] as const) {
    it(`is found one by one and given up, and the others are delivered, QoS ${qos}`, async () => {
      const publisher = new Publisher(false);
      const [a, b, c] = ["a", "b", "c"].map((text) => publisher.publish(message(text, qos)));
      const given = assert.rejects(b ?? Promise.resolve(), { code: "refused" });
      // What was acknowledged by then is not sent again.
      const all = [lose(publisher, true), lose(publisher, true), lose(publisher, true)];
      assert.deepEqual(
        all.map((written) => written.filter((packet) => /^[bc]/.test(packet))),
        [["b 2", "c 3"], ["b 2 dup", "c 3 dup"], ["b 2 dup"]],
      );
      assert.deepEqual(lose(publisher, true), ["b 2 dup"]);
      // The connection must last without it for two seconds before the last attempt.
      assert.deepEqual(lose(publisher, true), []);
      // It was lost without it: the search starts again.
      for (const found of [["b 2 dup", "c 3 dup"], ["b 2 dup"]]) {
        for (const _ of [1, 2]) assert.deepEqual(lose(publisher, true), found);
      }
      const last = openLink();
      const linked = publisher.attach(last.link);
      assert.deepEqual(last.written, []);
      await until("it is sent", () => last.written.length === 1);
      linked.detach(true);
      await given;
      const next = openLink();
      const again = publisher.attach(next.link);
      // A broker that has received it at QoS 2 must release its id.
      const isReleased = qos === 2 ? ["pubrel 2"] : [];
      assert.deepEqual(short(next.written), [...isReleased, "c 3 dup"]);
      for (const packet of [pubcomp(2), qos === 1 ? puback(3) : pubrec(3), pubcomp(3)])
        again.take(packet);
      await Promise.all([a, c]);
    });
  }

  it("of QoS 0 that nobody waits for does not slow the others down", async () => {
    const publisher = new Publisher(false);
    for (const _ of [1, 2, 3]) {
      const stop = new AbortController();
      const said = publisher.publish(message("0", 0), stop.signal);
      const { link } = openLink({ write: () => {} });
      const linked = publisher.attach(link);
      stop.abort(new Failure("expired", "too late"));
      await assert.rejects(said, { code: "expired" });
      linked.detach(true);
    }
    const all = ["a", "c"].map((text) => publisher.publish(message(text, 1)));
    const { link, written } = openLink();
    const linked = publisher.attach(link);
    assert.deepEqual(short(written), ["a 1", "c 2"]);
    for (const id of [1, 2]) linked.take(puback(id));
    await Promise.all(all);
  });

  it("is not given up if we ended them", async () => {
    const publisher = new Publisher(false);
    const said = publisher.publish(message("b", 1));
    for (let times = 0; times < 20; times += 1) lose(publisher, false);
    assert.equal(await isSettled(said), false);
    const { link } = openLink();
    publisher.attach(link).take(puback(1));
    await said;
  });
});

describe("an acknowledgement of the broker", () => {
  for (const code of [0x93, 0x97]) {
    it(`with reason 0x${code.toString(16)} is a lost connection and no refusal`, async () => {
      for (const [qos, answer] of [
        [1, puback(1, code)],
        [2, pubrec(1, code)],
      ] as const) {
        const publisher = new Publisher(false);
        const first = openLink();
        const said = publisher.publish(message("a", qos));
        publisher.attach(first.link).take(answer);
        assert.match(first.aborted.join(), /exceeded/);
        assert.equal(await isSettled(said), false);
        const second = openLink();
        const again = publisher.attach(second.link);
        assert.deepEqual(short(second.written), ["a 1"]);
        if (qos === 2) {
          again.take(pubrec(1));
          again.take(pubcomp(1));
        } else again.take(puback(1));
        await said;
      }
    });
  }

  it("with another reason from 0x80 on is a refusal, and gives the id back", async () => {
    const publisher = new Publisher(false);
    const { link, aborted, written } = openLink();
    const linked = publisher.attach(link);
    for (const answer of [puback(1, 0x99), pubrec(1, 0x87)]) {
      const said = publisher.publish(message("a", answer.cmd === "puback" ? 1 : 2));
      linked.take(answer);
      await assert.rejects(said, { code: "refused", message: /payload format|not authorized/ });
    }
    assert.deepEqual([aborted, written.length], [[], 2]);
  });

  it("that nobody subscribes resolves at QoS 1 and, once it is complete, at QoS 2", async () => {
    const publisher = new Publisher(false);
    const { link } = openLink();
    const linked = publisher.attach(link);
    const said = [1, 2].map((qos) => publisher.publish(message("a", qos === 1 ? 1 : 2)));
    for (const packet of [puback(1, 16), pubrec(2, 16), pubcomp(2)]) linked.take(packet);
    assert.deepEqual(
      await Promise.all(said),
      [1, 2].map(() => ({ noMatchingSubscribers: true })),
    );
  });

  it("with PUBACK of QoS 2 counts, of a broker that takes it for QoS 1", async () => {
    const publisher = new Publisher(false);
    const linked = publisher.attach(openLink().link);
    const said = publisher.publish(message("a", 2));
    linked.take(puback(1));
    await said;
  });

  it("that is none of ours is answered with nothing, and PUBREL goes once a connection", () => {
    const publisher = new Publisher(false);
    const { link, written } = openLink();
    const linked = publisher.attach(link);
    for (let id = 1; id < 100; id += 1)
      for (const packet of [pubrec(id), pubcomp(id), puback(id)]) linked.take(packet);
    assert.equal(written.length, 0);
    void publisher.publish(message("a", 2));
    for (let times = 0; times < 9; times += 1) linked.take(pubrec(1));
    assert.deepEqual(short(written), ["a 1", "pubrel 1"]);
  });
});

describe("packet ids", () => {
  it("of the library's subscriptions and of publishes are never the same", () => {
    const publisher = new Publisher(false);
    const ids = publisher.messageIds;
    const { link, written } = openLink();
    ids.clear();
    const linked = publisher.attach(link);
    assert.equal(ids.allocate(), 21);
    assert.equal(ids.allocate(), 22);
    ids.deallocate(21);
    for (const text of ["a", "b"]) void publisher.publish(message(text, 1));
    linked.take(puback(1));
    void publisher.publish(message("c", 1));
    assert.deepEqual(short(written), ["a 1", "b 2", "c 1"]);
    assert.equal(ids.allocate(), 21);
    assert.equal(ids.getLastAllocated(), 21);
    // The next connection: a SUBSCRIBE is not sent again, an unacknowledged PUBLISH is.
    ids.clear();
    assert.equal(ids.allocate(), 21);
  });

  it("that a former process left unreleased are released, once, before anything else", () => {
    for (const resumed of [true, false]) {
      const publisher = new Publisher(true);
      void publisher.publish(message("a", 2));
      const first = openLink({ resumed });
      const linked = publisher.attach(first.link);
      assert.deepEqual(short(first.written), []);
      linked.granted(2);
      linked.open();
      const sent = short(first.written);
      assert.equal(sent.at(-1), "a 1");
      assert.deepEqual(
        sent.slice(0, -1),
        resumed ? Array.from({ length: 20 }, (_, id) => `pubrel ${id + 1}`) : [],
      );
      const second = openLink();
      publisher.attach(second.link);
      assert.deepEqual(short(second.written), ["a 1 dup"]);
    }
  });

  it("are released on the second connection if the first one was lost before a subscription", () => {
    const publisher = new Publisher(true);
    void publisher.publish(message("a", 2));
    const first = openLink();
    publisher.attach(first.link);
    const second = openLink();
    const linked = publisher.attach(second.link);
    linked.granted(2);
    linked.granted(2);
    linked.open();
    assert.deepEqual(short(first.written), []);
    const sent = short(second.written);
    assert.equal(sent.length, 21);
    assert.equal(sent[0], "pubrel 1");
    assert.equal(sent.at(-1), "a 1");
  });

  it("are not released if the broker has no QoS 2", () => {
    const publisher = new Publisher(true);
    void publisher.publish(message("a", 2));
    const { link, written } = openLink();
    const linked = publisher.attach(link);
    linked.granted(1);
    linked.granted(2);
    linked.open();
    assert.deepEqual(short(written), ["a 1"]);
  });
});

type Step =
  | { readonly do: "publish"; readonly qos: 1 | 2 }
  | { readonly do: "broker" | "client"; readonly packets: number }
  | { readonly do: "cut"; readonly resumed: boolean; readonly receiveMaximum: number };

const steps = (resumes: readonly boolean[]) =>
  fc.array(
    fc.oneof<fc.Arbitrary<Step>[]>(
      fc.record({
        do: fc.constant("publish" as const),
        qos: fc.constantFrom(1 as const, 2 as const),
      }),
      fc.record({ do: fc.constantFrom("broker" as const, "client" as const), packets: fc.nat(6) }),
      fc.record({
        do: fc.constant("cut" as const),
        resumed: fc.constantFrom(...resumes),
        receiveMaximum: fc.integer({ min: 1, max: 30 }),
      }),
    ),
    { maxLength: 120, size: "max" },
  );

/** A broker by the book (MQTT 5 section 4.3), with a connection that can be cut with packets under way, both ways. */
class BookBroker {
  readonly publisher: Publisher = new Publisher(false);
  readonly delivered: string[] = [];
  readonly settled: string[] = [];
  readonly published: string[] = [];
  readonly finals = new Set<string>();
  #unreleased = new Map<number, string>();
  #names = new Map<number, string>();
  #sent: Packet[] = [];
  #answers: Packet[] = [];
  #linked: AttachedLink | undefined;

  do(step: Step): void {
    if (step.do === "publish") this.publish(step.qos);
    else if (step.do === "cut") this.connect(step.resumed, step.receiveMaximum);
    else if (step.do === "broker") this.#sent.splice(0, step.packets).forEach((p) => this.take(p));
    else this.#answers.splice(0, step.packets).forEach((p) => this.#linked?.take(p));
  }

  publish(qos: 1 | 2): void {
    const name = `${this.published.length} of ${qos}`;
    this.published.push(name);
    void this.publisher.publish(message(name, qos)).then(() => this.settled.push(name));
  }

  connect(resumed: boolean, receiveMaximum: number): void {
    this.#linked?.detach();
    this.#sent = [];
    this.#answers = [];
    if (!resumed) this.#unreleased.clear();
    let underWay = 0;
    const write = (packet: Packet): void => {
      if (packet.cmd === "publish") underWay += 1;
      assert.ok(underWay <= Math.min(receiveMaximum, 20), "the broker's Receive Maximum");
      this.#sent.push(packet);
    };
    const linked = this.publisher.attach(openLink({ resumed, receiveMaximum, write }).link);
    linked.open();
    const take = (packet: Packet): void => {
      if (packet.cmd !== "pubrec") underWay = Math.max(underWay - 1, 0);
      linked.take(packet);
    };
    this.#linked = { ...linked, take };
  }

  take(packet: Packet): void {
    const id = packet.messageId ?? 0;
    if (packet.cmd === "publish") {
      const name = String(packet.payload);
      this.#names.set(id, name);
      const open = this.#unreleased.get(id);
      assert.ok(
        open === undefined || (packet.dup && open === name),
        "an id is used again too early",
      );
      if (packet.qos === 1 || open === undefined) this.delivered.push(name);
      if (packet.qos === 2) this.#unreleased.set(id, name);
      if (packet.qos === 1) this.finals.add(name);
      this.#answers.push(packet.qos === 1 ? puback(id) : pubrec(id));
    } else if (packet.cmd === "pubrel") {
      this.#unreleased.delete(id);
      this.finals.add(this.#names.get(id) ?? "");
      this.#answers.push(pubcomp(id));
    }
  }

  finish(): void {
    while (this.#sent.length + this.#answers.length > 0) {
      this.do({ do: "broker", packets: 100 });
      this.do({ do: "client", packets: 100 });
    }
  }
}

async function play(script: readonly Step[]): Promise<BookBroker> {
  const broker = new BookBroker();
  broker.connect(false, 20);
  for (const step of script) {
    broker.do(step);
    await Promise.resolve();
    for (const name of broker.settled) assert.ok(broker.finals.has(name), "settled unacknowledged");
  }
  broker.finish();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(broker.settled.toSorted(), broker.published.toSorted());
  return broker;
}

describe("whatever connections do", () => {
  it("a broker that keeps the session gets QoS 2 exactly once, and all in order", async () => {
    await fc.assert(
      fc.asyncProperty(steps([true]), async (script) => {
        const { delivered, published } = await play(script);
        const first = [...new Set(delivered)];
        assert.deepEqual(first, published);
        const twice = delivered.filter((name) => name.endsWith("2"));
        assert.equal(new Set(twice).size, twice.length);
      }),
      { numRuns: runs(300) },
    );
  });

  it("a broker that forgets it gets all at least once, in order", async () => {
    await fc.assert(
      fc.asyncProperty(steps([true, false]), async (script) => {
        const { delivered, published } = await play(script);
        assert.deepEqual([...new Set(delivered)], published);
      }),
      { numRuns: runs(300) },
    );
  });
});
