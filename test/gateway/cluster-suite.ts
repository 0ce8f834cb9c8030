import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Part } from "../../src/base/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { UNLIMITED } from "../../src/gateway/channel-policy.ts";
import type { Clock } from "../../src/gateway/clock.ts";
import { ClusterMember } from "../../src/gateway/cluster/cluster-member.ts";
import type { Answerer, Request } from "../../src/gateway/contract.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import type { Gateway } from "../../src/gateway/gateway.ts";
import type { Cluster } from "../../src/store/contract/cluster.ts";
import type { Store } from "../../src/store/contract/store.ts";
import { createMemoryLog, type LogLine } from "../support/memory-log.ts";
import { createManualAnswerer, OPEN_TO_ALL, shout } from "./setup.ts";
import type { ManualAnswerer } from "./setup.ts";

/** A shared store under test, and the time of its gateways. */
export interface SharedStore extends AsyncDisposable {
  readonly clock: Clock;
  open(owner: string): Promise<{ readonly store: Store<string>; readonly cluster: Cluster }>;
  /** Lets so much time pass, and all that happens in it. */
  pass(ms: number): Promise<void>;
}

interface Heard {
  readonly owner: string;
  readonly address: string;
  readonly part: Part;
}

interface Member {
  readonly owner: string;
  readonly gateway: Gateway;
  readonly cluster: Cluster;
  readonly lines: readonly LogLine[];
  /** Accepts a durable request; returns whether it was acknowledged, as soon as it was. */
  ask(text: string, facts?: Partial<Request>): { acknowledged: boolean };
}

interface MemberFacts {
  readonly slots?: number;
  /** Requests of one client that may wait; 0 is no limit. */
  readonly queued?: number;
  readonly change?: (store: Store<string>) => Partial<Store<string>>;
  readonly deliver?: (part: Part) => Promise<void>;
}

/** Several gateways of one shared store, and all that their clients hear. */
export class World implements AsyncDisposable {
  readonly heard: Heard[] = [];
  readonly shared: SharedStore;
  readonly #gateways: Gateway[] = [];
  readonly #logs: (readonly LogLine[])[] = [];
  #count = 0;

  constructor(shared: SharedStore) {
    this.shared = shared;
  }

  /** A gateway that has started; `intake` takes the right to hear requests. */
  async open(
    answer: Answerer<string>,
    { slots = 1, queued = 0, change = () => ({}), deliver }: MemberFacts = {},
  ): Promise<Member> {
    const owner = `gateway ${(this.#count += 1)}`;
    const { clock } = this.shared;
    const { store: plain, cluster } = await this.shared.open(owner);
    const store = { ...plain, ...change(plain) };
    const log = createMemoryLog();
    const { lines } = log;
    const replyAt =
      (address: string): Request["reply"] =>
      async (part) => {
        this.heard.push({ owner, address, part });
        await deliver?.(part);
      };
    const gateway = createGateway<string>({
      answer,
      log,
      clock,
      store,
      maxParallelTurns: slots,
      turnTimeoutMs: 600_000,
      policies: new Map([
        ["mqtt", { ...OPEN_TO_ALL, intervalMs: 0, limits: { ...UNLIMITED, queued } }],
      ]),
      member: new ClusterMember({ store, cluster, clock, log }),
      replyTo: (_channel, { address }) => replyAt(address),
    });
    this.#gateways.push(gateway);
    this.#logs.push(lines);
    await gateway.resume();
    return {
      owner,
      gateway,
      cluster,
      lines,
      ask(text, facts = {}) {
        const { client = "device" } = facts;
        const address = facts.address ?? `to ${client}`;
        const asked = { acknowledged: false };
        const request: Request = {
          channel: "mqtt",
          client,
          text,
          stream: true,
          fingerprint: `${client} ${text}`,
          key: text,
          redelivered: false,
          durable: true,
          address,
          reply: replyAt(address),
          ...facts,
        };
        void gateway.accept(request).then(() => {
          asked.acknowledged = true;
        });
        return asked;
      },
    };
  }

  /** The texts of whole answers to an address, in order; each with the failure's code, if any. */
  answers(address: string): readonly string[] {
    const texts: string[] = [];
    let text = "";
    for (const { part } of this.heard.filter((each) => each.address === address)) {
      text += part.error === undefined ? part.text : `[${part.error.code}]`;
      if (!part.done) continue;
      texts.push(text);
      text = "";
    }
    return texts;
  }

  async until(isSo: () => boolean, what: string): Promise<void> {
    for (let tries = 0; !isSo(); tries++) {
      if (tries >= 600)
        assert.fail(`waited for ${what}; ${JSON.stringify([this.#logs, this.heard])}`);
      await this.shared.pass(50);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    let isDrained = false;
    const drained = Promise.all(this.#gateways.map((gateway) => gateway.drain(0)));
    void drained.then(() => {
      isDrained = true;
    });
    await this.until(() => isDrained, "the shutdown");
    await this.shared[Symbol.asyncDispose]();
  }
}

export async function hears({ cluster }: Member): Promise<void> {
  assert.ok((await cluster.intake("mqtt").take()) !== undefined);
}

/** What gateways of one shared store promise, whatever store that is. */
export function testCluster(
  name: string,
  openShared: () => Promise<SharedStore>,
  needs: { readonly skip?: boolean } = {},
): void {
  const openWorld = async (): Promise<World> => new World(await openShared());

  describe(`gateways that share ${name}`, needs, () => {
    it("give work to the one that has room, and keep the order of each client", async () => {
      await using world = await openWorld();
      const [one, two] = [createManualAnswerer(), createManualAnswerer()];
      const first = await world.open(one.answer);
      await world.open(two.answer);
      await hears(first);
      const asked = ["a1", "b1", "a2", "b2", "a3"].map((text) =>
        first.ask(text, { client: text.slice(0, 1) }),
      );
      await world.until(() => two.running() + one.running() === 2, "two turns");
      assert.equal(new Set([...one.began, ...two.began]).size, 2);
      await world.until(() => asked.every((each) => each.acknowledged), "the acknowledgements");
      await world.until(() => {
        for (const { end } of [one, two]) end();
        return world.answers("to a").length + world.answers("to b").length === 5;
      }, "the answers");
      assert.deepEqual(world.answers("to a"), ["answer to a1", "answer to a2", "answer to a3"]);
      assert.deepEqual(world.answers("to b"), ["answer to b1", "answer to b2"]);
      assert.equal(one.began.length + two.began.length, 5);
    });

    it("leave a client's next request to one that has room", async () => {
      await using world = await openWorld();
      const { first, one, two, near, far } = await withWorkElsewhere(world);
      one.end();
      await world.until(() => world.answers(`to ${near}`).length === 1, "an answer");
      first.ask("c1", { client: "c" });
      await world.until(() => one.running() + two.running() === 2, "two turns");
      two.end();
      await world.until(() => world.answers(`to ${far}`).length === 1, "an answer");
      await world.shared.pass(3000);
      first.ask(`${near}2`, { client: near });
      await world.until(() => two.began.includes(`${near}2`), "its turn");
      assert.deepEqual(one.began, [`${near}1`, "c1"]);
    });

    it("stop what runs at another one", async () => {
      await using world = await openWorld();
      const { first, two, far } = await withWorkElsewhere(world);
      const stop = first.ask("/stop", { client: far, address: "stop" });
      await world.until(() => world.answers(`to ${far}`).length === 1, "the cancelled answer");
      assert.deepEqual(world.answers(`to ${far}`), ["[cancelled]"]);
      await world.until(() => stop.acknowledged, "the acknowledgement");
      assert.deepEqual(world.answers("stop"), ["Stopped."]);
      assert.equal(two.running(), 0);
    });

    it("send an answer of another one to a further address of the same request, also late", async () => {
      await using world = await openWorld();
      const { first, two, far } = await withWorkElsewhere(world);
      const same = { client: far, redelivered: true };
      const again = first.ask(`${far}1`, { ...same, address: "further" });
      const ignored = first.ask(`${far}1`, same);
      await world.until(() => again.acknowledged && ignored.acknowledged, "the acknowledgements");
      two.end();
      await world.until(() => world.answers("further").length === 1, "the further answer");
      await world.until(() => world.answers(`to ${far}`).length === 1, "the answer");
      assert.deepEqual(world.answers("further"), world.answers(`to ${far}`));
      const late = first.ask(`${far}1`, { ...same, address: "late" });
      await world.until(() => world.answers("late").length === 1, "the late answer");
      await world.until(() => late.acknowledged, "the acknowledgement");
      assert.deepEqual(two.began, [`${far}1`]);
    });

    it("know a request that another one runs, and cancel it alone", async () => {
      await using world = await openWorld();
      const { first, one, two, far } = await withWorkElsewhere(world);
      const key = { channel: "mqtt", client: far, key: `${far}1`, fingerprint: "" };
      const results: unknown[] = [];
      const ask = async (what: "find" | "cancel", of = key): Promise<unknown> => {
        const before = results.length;
        void first.gateway[what](of).then((result) => results.push(result));
        await world.until(() => results.length > before, what);
        return results.at(-1);
      };
      assert.deepEqual(await ask("find"), { hasBegun: true, answer: undefined });
      assert.equal(await ask("cancel"), true);
      await world.until(() => world.answers(`to ${far}`).length === 1, "the cancelled answer");
      assert.deepEqual(world.answers(`to ${far}`), ["[cancelled]"]);
      assert.deepEqual([one.running(), two.running()], [1, 0]);
      assert.equal(await ask("cancel"), false);
      const { hasBegun, answer } = (await first.gateway.find(key)) ?? {};
      assert.deepEqual([hasBegun, answer?.failure?.code], [true, "cancelled"]);
      const another = { ...key, key: "another" };
      assert.deepEqual(
        [await ask("find", another), await ask("cancel", another)],
        [undefined, false],
      );
    });

    it("leave at a shutdown to others what has not started, and finish what has", async () => {
      await using world = await openWorld();
      const { first, one, two, near, far } = await withWorkElsewhere(world);
      const waiting = first.ask(`${near}2`, { client: near });
      two.end();
      await world.until(() => world.answers(`to ${far}`).length === 1, "a free gateway");
      const last = first.ask("c1", { client: "c" });
      await world.until(() => waiting.acknowledged && last.acknowledged, "the acknowledgements");
      const drained = first.gateway.drain(20_000);
      await world.until(() => two.began.includes("c1"), "the other's work");
      two.end();
      one.end();
      await world.until(() => two.began.includes(`${near}2`), "the next request of the client");
      two.end();
      await world.until(() => world.answers(`to ${near}`).length === 2, "the answers");
      const texts = [1, 2].map((number) => `answer to ${near}${number}`);
      assert.deepEqual(world.answers(`to ${near}`), texts);
      assert.deepEqual(one.began, [`${near}1`]);
      const result = await drained;
      assert.equal(result.undelivered, 0);
    });

    it("answer what another one left when it died, with the steps of its attempt, at all addresses", async () => {
      await using world = await openWorld();
      const steps: (readonly string[] | undefined)[] = [];
      let [attempts, recorded] = [0, false];
      const answer: Answerer<string> = async function* ({ record, resumed }) {
        steps.push(resumed);
        attempts += 1;
        yield `attempt ${attempts}`;
        if (attempts === 1) {
          await record("a step");
          recorded = true;
          await new Promise(() => {});
        }
        return { messages: [] };
      };
      // It dies without a word: it renews nothing any more, and hangs.
      let dead = false;
      const change = (store: Store<string>): Partial<Store<string>> => ({
        renew: () => (dead ? new Promise(() => {}) : store.renew()),
      });
      const first = await world.open(answer, { change });
      await hears(first);
      first.ask("?");
      await world.until(() => recorded, "the step");
      const again = first.ask("?", { address: "further" });
      await world.until(() => again.acknowledged, "the acknowledgement");
      dead = true;
      await world.open(answer);
      await world.until(() => world.answers("to device").length > 0, "the answer");
      await world.until(() => world.answers("further").length > 0, "the further answer");
      // The stream of the first attempt began there, too.
      assert.match(world.answers("further").join(), /attempt 2$/);
      assert.deepEqual(steps, [undefined, ["a step"]]);
      const heard = world.heard.filter(({ address }) => address === "to device");
      assert.deepEqual(
        heard.map(({ owner, part }) => `${owner}: ${part.text}`),
        ["gateway 1: attempt 1", "gateway 2: attempt 2", "gateway 2: "],
      );
    });

    it("push once what several of them push, also those that hear nothing", async () => {
      await using world = await openWorld();
      const members = [await world.open(shout), await world.open(shout), await world.open(shout)];
      const [first, second] = members;
      assert.ok(first && second);
      await hears(first);
      await first.cluster.intake("mqtt").release();
      await hears(second);
      const facts = { channel: "mqtt", client: "device", from: "job" } as const;
      const outcomes: string[] = [];
      for (const { gateway } of members) {
        for (const content of [{ text: "ready" }, { prompt: "prompt" }]) {
          const id = Object.values(content).join();
          void gateway.push({ ...facts, ...content, id }).then((is) => outcomes.push(is));
        }
      }
      await world.until(() => outcomes.length === 6, "six pushes");
      assert.equal(outcomes.filter((is) => is === "accepted").length, 2);
      await world.until(() => world.answers("push").length === 2, "their delivery");
      await world.shared.pass(5000);
      assert.deepEqual(world.answers("push").toSorted(), ["PROMPT", "ready"]);
    });

    it("push to a client whose request runs at another one: what is ready at once, the rest after it", async () => {
      await using world = await openWorld();
      const { first, two, far } = await withWorkElsewhere(world);
      const facts = { channel: "mqtt", client: far, from: "job" } as const;
      const pushes = [
        first.gateway.push({ ...facts, id: "1", text: "ready" }),
        first.gateway.push({ ...facts, id: "2", prompt: "prompt" }),
      ];
      await world.until(() => world.answers("push").length === 1, "the ready one");
      assert.deepEqual(world.answers("push"), ["ready"]);
      assert.deepEqual(await Promise.all(pushes), ["accepted", "accepted"]);
      await world.until(() => {
        two.end();
        return world.answers("push").length === 2;
      }, "the other one");
      assert.deepEqual(two.began, [`${far}1`, "prompt"]);
    });

    it("deliver the pushes of one that died", async () => {
      await using world = await openWorld();
      let dead = false;
      const first = await world.open(shout, {
        deliver: () => new Promise(() => {}),
        change: (store) => ({
          renew: () => (dead ? new Promise(() => {}) : store.renew()),
        }),
      });
      const facts = { channel: "mqtt", from: "job" } as const;
      const pushes = [
        first.gateway.push({ ...facts, client: "a", id: "1", text: "ready" }),
        first.gateway.push({ ...facts, client: "b", id: "2", prompt: "prompt" }),
      ];
      await world.until(() => world.heard.length === 2, "deliveries that do not arrive");
      await Promise.all(pushes);
      dead = true;
      const second = await world.open(shout);
      const delivered = (): string[] =>
        world.heard.flatMap(({ owner, part }) => (owner === second.owner ? [part.text] : []));
      await world.until(() => delivered().length === 2, "the deliveries");
      await world.shared.pass(5000);
      assert.deepEqual(delivered().toSorted(), ["PROMPT", "ready"]);
    });

    it("acknowledge nothing that another one hears now, and answer nothing", async () => {
      await using world = await openWorld();
      const first = await world.open(shout);
      const second = await world.open(shout);
      await hears(first);
      await first.cluster.intake("mqtt").release();
      await hears(second);
      const fenced = first.ask("?");
      await world.shared.pass(3000);
      assert.equal(fenced.acknowledged, false);
      assert.deepEqual(world.heard, []);
      const asked = second.ask("?");
      await world.until(() => world.answers("to device").length === 1, "the answer");
      assert.ok(asked.acknowledged);
    });
  });
}

/** One client's request runs at the first gateway, which hears all, and another's at the second. */
async function withWorkElsewhere(world: World): Promise<{
  first: Member;
  one: ManualAnswerer;
  two: ManualAnswerer;
  near: string;
  far: string;
}> {
  const [one, two] = [createManualAnswerer(), createManualAnswerer()];
  const first = await world.open(one.answer);
  await world.open(two.answer);
  await hears(first);
  first.ask("a1", { client: "a" });
  first.ask("b1", { client: "b" });
  await world.until(() => one.running() + two.running() === 2, "two turns");
  const [near, far] = one.began[0] === "a1" ? ["a", "b"] : ["b", "a"];
  assert.deepEqual([one.began, two.began], [[`${near}1`], [`${far}1`]]);
  return { first, one, two, near, far };
}

/** The same call, which fails at first, so often, with that code: after it did its work or before. */
export function failing<Args extends readonly [object, ...unknown[]], T>(
  call: (...args: Args) => Promise<T>,
  { times, code, writes }: { times: number; code: "busy" | "unsure"; writes: boolean },
): (...args: Args) => Promise<T> {
  let left = times;
  const results = new Map<object, Promise<T>>();
  return async (...args) => {
    left -= 1;
    // A call with the same objects has the result of the first one.
    const result = results.get(args[0]) ?? (left < 0 || writes ? call(...args) : undefined);
    if (result !== undefined) results.set(args[0], result);
    const done = await result;
    if (left >= 0 || done === undefined) {
      throw new Failure(code, "requests cannot be stored at the moment", { retryAfter: 30 });
    }
    return done;
  };
}
