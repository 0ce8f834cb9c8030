import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import type { IntakeLease } from "../../src/gateway/cluster/intake-lease.ts";
import { Intakes } from "../../src/gateway/cluster/intakes.ts";
import { createManualClock } from "./manual-clock.ts";

const LEASE_MS = 4_000;
const RELIED_MS = 3_000;
/** A gateway that does not announce is listed for so long. */
const LISTED_MS = 15_000;

/** A store in memory with gateways that share it. */
function createCluster() {
  const clock = createManualClock();
  const leases = new Map<string, { owner: string; until: number }>();
  const members = new Map<string, { about: unknown; until: number }>();
  const holderOf = (name: string): string | undefined => {
    const lease = leases.get(name);
    return lease !== undefined && lease.until > clock.now() ? lease.owner : undefined;
  };

  function join(owner: string, names: readonly string[], canHear = true) {
    const state = {
      /** Whether the store can be reached, and for how long it lets a call wait. */
      fails: false,
      delayMs: 0,
      canHear,
      isDead: false,
      events: new Array<string>(),
      /** Those that others have. */
      elsewhere: new Set<string>(),
      calls: 0,
    };
    const reach = async (): Promise<void> => {
      state.calls += 1;
      if (state.fails) throw new Failure("busy", "the store cannot be reached");
      if (state.delayMs > 0) {
        await new Promise<void>((resolve) => clock.after(state.delayMs, resolve));
      }
      if (state.isDead) await new Promise(() => {});
      const about = members.get(owner)?.about;
      members.set(owner, { about, until: clock.now() + LISTED_MS });
    };
    const intakes = new Intakes({
      about: () => ({ instance: owner }),
      log: SILENT,
      clock,
      random: () => 0.5,
      cluster: {
        owner,
        identity: () => Promise.resolve("0a1b2c3d"),
        async announce(about) {
          await reach();
          members.set(owner, { about, until: clock.now() + LISTED_MS });
        },
        async gateways() {
          await reach();
          const living = [...members].filter(([, { until }]) => until > clock.now());
          return living.map(([name, { about }]) => {
            const held = [...leases.keys()].filter((key) => holderOf(key) === name);
            return { owner: name, about, intakes: held, lanes: 0 };
          });
        },
        intake: (name) => ({
          async take() {
            await reach();
            if ((holderOf(name) ?? owner) !== owner) return undefined;
            leases.set(name, { owner, until: clock.now() + LEASE_MS });
            return RELIED_MS;
          },
          async release() {
            await reach();
            if (holderOf(name) === owner) leases.delete(name);
          },
        }),
      },
    });
    const opened = new Map<string, IntakeLease>();
    for (const name of names) {
      const lease = intakes.open(name);
      lease.start({
        canHear: () => state.canHear,
        taken: () => state.events.push(`taken ${name}`),
        lost: (why) => state.events.push(`lost ${name}: ${why}`),
        elsewhere: () => state.elsewhere.add(name),
      });
      opened.set(name, lease);
    }
    const lease = (name: string): IntakeLease => {
      const found = opened.get(name);
      if (found === undefined) throw new Error(`no lease ${name}`);
      return found;
    };
    const held = (): number => names.filter((name) => lease(name).isHeld()).length;
    return { state, lease, held };
  }

  return { clock, join, holderOf };
}

describe("the lease of an intake", () => {
  it("is taken by one gateway and renewed each second", async () => {
    const { clock, join, holderOf } = createCluster();
    const a = join("a", ["x"]);
    const b = join("b", ["x"]);
    await clock.advance(60_000);
    assert.equal(holderOf("x"), "a");
    assert.deepEqual([a.state.events, b.state.events], [["taken x"], []]);
    assert.deepEqual([a.lease("x").isHeld(), b.lease("x").isHeld()], [true, false]);
    assert.deepEqual([...a.state.elsewhere, ...b.state.elsewhere], ["x"]);
    assert.equal(a.state.elsewhere.size, 0);
  });

  it("is taken by another gateway within 6 s after the holder's death", async () => {
    const { clock, join, holderOf } = createCluster();
    const a = join("a", ["x"]);
    await clock.advance(5_000);
    join("b", ["x"]);
    for (const delay of [0, 250, 500, 999]) {
      await clock.advance(delay);
      if (delay === 250) a.state.isDead = true;
    }
    await clock.advance(6_000 - 1_499);
    assert.equal(holderOf("x"), "b");
  });

  it("is lost 3 s after the last renewal was sent, while the store cannot be reached", async () => {
    const { clock, join } = createCluster();
    const a = join("a", ["x"]);
    await clock.advance(5_400);
    a.state.fails = true;
    await clock.advance(2_599);
    assert.equal(a.lease("x").isHeld(), true);
    assert.equal(a.lease("x").problem()?.code, "busy");
    await clock.advance(1);
    assert.equal(a.lease("x").isHeld(), false);
    assert.deepEqual(a.state.events, ["taken x", "lost x: it was not renewed in time"]);
    a.state.fails = false;
    await clock.advance(2_000);
    assert.equal(a.lease("x").isHeld(), true);
    assert.equal(a.lease("x").problem(), undefined);
  });

  it("counts from before the call, however long the store takes", async () => {
    const { clock, join, holderOf } = createCluster();
    const a = join("a", ["x"]);
    await clock.advance(5_000);
    a.state.delayMs = 2_900;
    await clock.advance(20_000);
    const [, ...later] = a.state.events;
    assert.ok(later.length > 0);
    a.state.delayMs = 3_100;
    await clock.advance(10_000);
    const { length } = a.state.events;
    await clock.advance(20_000);
    assert.equal(a.state.events.length, length, "it is never taken any more");
    assert.equal(a.lease("x").isHeld(), false);
    // What came too late is given back.
    const b = join("b", ["x"]);
    a.state.fails = true;
    await clock.advance(9_000);
    assert.equal(holderOf("x"), "b");
    assert.deepEqual(b.state.events, ["taken x"]);
  });

  it("is left to others without a path to the broker, and given back on demand", async () => {
    const { clock, join, holderOf } = createCluster();
    const a = join("a", ["x"], false);
    await clock.advance(3_000);
    assert.equal(holderOf("x"), undefined);
    a.state.canHear = true;
    await clock.advance(1_500);
    assert.equal(holderOf("x"), "a");
    const b = join("b", ["x"]);
    await clock.advance(1_500);
    await a.lease("x").giveBack(5_000, "no path");
    await clock.advance(1_500);
    assert.equal(holderOf("x"), "b");
    assert.deepEqual(a.state.events, ["taken x", "lost x: no path"]);
    await b.lease("x").close();
    assert.equal(b.lease("x").isHeld(), false);
    await clock.advance(5_000);
    assert.equal(holderOf("x"), "a");
  });

  it("is confirmed only by a call that began later", async () => {
    const { clock, join } = createCluster();
    const a = join("a", ["x"]);
    await clock.advance(5_000);
    a.state.delayMs = 500;
    await clock.advance(1_200);
    let isConfirmed = false;
    const { signal } = new AbortController();
    void a
      .lease("x")
      .confirmed(signal)
      .then(() => (isConfirmed = true));
    await clock.advance(350);
    assert.equal(isConfirmed, false, "the call on its way began before");
    await clock.advance(500);
    assert.equal(isConfirmed, true);
    a.state.fails = true;
    const lost = assert.rejects(a.lease("x").confirmed(signal));
    await clock.advance(4_000);
    await lost;
  });
});

describe("several intakes", () => {
  it("are heard by one gateway each, whoever starts first", async () => {
    const { clock, join } = createCluster();
    const a = join("a", ["x", "y"]);
    await clock.advance(10_000);
    assert.equal(a.held(), 2);
    const b = join("b", ["x", "y"]);
    await clock.advance(60_000);
    assert.deepEqual([a.held(), b.held()], [1, 1]);
    const events = a.state.events.length + b.state.events.length;
    await clock.advance(600_000);
    assert.equal(a.state.events.length + b.state.events.length, events, "and stay so");
  });

  it("are heard by one gateway each when both start at once", async () => {
    const { clock, join } = createCluster();
    const a = join("a", ["x", "y"]);
    const b = join("b", ["y", "x"]);
    await clock.advance(10_000);
    assert.deepEqual([a.held(), b.held()], [1, 1]);
  });

  it("are all heard by the last gateway, within 6 s", async () => {
    const { clock, join } = createCluster();
    const a = join("a", ["x", "y"]);
    const b = join("b", ["y", "x"]);
    await clock.advance(30_000);
    b.state.isDead = true;
    await clock.advance(6_000);
    assert.equal(a.held(), 2);
    // It is listed a while longer, but gets none.
    await clock.advance(120_000);
    assert.equal(a.held(), 2);
    assert.equal(a.state.events.filter((event) => event.startsWith("lost")).length, 0);
  });

  it("are not given to a gateway without a path to the broker", async () => {
    const { clock, join } = createCluster();
    const a = join("a", ["x", "y"]);
    await clock.advance(2_000);
    const b = join("b", ["x", "y"], false);
    await clock.advance(120_000);
    assert.equal(a.held(), 2);
    b.state.canHear = true;
    await clock.advance(30_000);
    assert.deepEqual([a.held(), b.held()], [1, 1]);
  });

  it("are offered ever more rarely to a gateway that does not take them", async () => {
    const { clock, join } = createCluster();
    const a = join("a", ["x", "y"]);
    await clock.advance(2_000);
    const b = join("b", ["x", "y"]);
    // It believes that it could hear, and cannot.
    for (const name of ["x", "y"]) await b.lease(name).close();
    await clock.advance(3_600_000);
    const given = a.state.events.filter((event) => event.startsWith("lost")).length;
    assert.ok(given < 14, `${given} times`);
  });

  it("are not asked for more often than needed", async () => {
    const { clock, join } = createCluster();
    const a = join("a", ["x"]);
    const b = join("b", ["x"]);
    await clock.advance(10_000);
    const before = [a.state.calls, b.state.calls];
    await clock.advance(60_000);
    // Each second a renewal or an attempt, every 5 s a look, every 10 s an announcement.
    assert.deepEqual(
      [a.state.calls - (before[0] ?? 0), b.state.calls - (before[1] ?? 0)],
      [78, 78],
    );
  });
});
