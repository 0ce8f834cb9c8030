import { Failure } from "../../src/base/failure.ts";
import { PUSH_ADDRESS } from "../../src/base/request-extras.ts";
import type { Clock } from "../../src/gateway/clock.ts";
import type { Cluster, Polled } from "../../src/store/contract/cluster.ts";
import type {
  Acceptance,
  Admission,
  Claim,
  JoinedAddress,
  LaneElsewhere,
  NewRequest,
  Store,
} from "../../src/store/contract/store.ts";
import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { storeFacts } from "../gateway/setup.ts";

const OWNER_MS = 15_000;
const INTAKE_MS = 4000;
const WARM_MS = 30_000;
const COOL_MS = 1000;
/** The owner of all rows of the one store behind all owners. */
const INNER = "shared";

interface Row {
  seq: number;
  readonly request: NewRequest;
  owner: string | undefined;
  attempt: number;
  state: "open" | "answered" | "delivered";
  isCancelled: boolean;
  /** Its owner knows it. */
  isGiven: boolean;
  /** It is of no lane: a rejection, or an answer that is delivered again. */
  isLoose: boolean;
  readonly joined: { readonly to: JoinedAddress; givenTo?: string }[];
}

interface LaneState {
  owner: string | undefined;
  usedAt: number;
}

/** What one gateway has of the shared store. */
export interface MemoryMember {
  readonly store: Store<string>;
  readonly cluster: Cluster;
}

/** A store that several gateways of one process share: the contract of `Cluster`, in memory. */
export class MemoryCluster {
  readonly #clock: Clock;
  readonly #inner: Store<string>;
  readonly #rows: Row[] = [];
  readonly #lanes = new Map<string, LaneState>();
  readonly #owners = new Map<string, { until: number; about: unknown; left: boolean }>();
  readonly #intakes = new Map<string, { owner: string; until: number }>();
  readonly #stopped = new Map<string, Set<string>>();
  readonly #listeners = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#inner = createMemoryStore<string>(storeFacts(clock, INNER));
  }

  /** Opens it for a new owner. */
  open(owner: string): MemoryMember {
    const inner = this.#inner;
    const ifHeld = async <T>(claim: Claim, work: (row: Row, claim: Claim) => Promise<T>) => {
      const row = this.#rowOf(claim);
      return row && (await work(row, { ...claim, owner: INNER }));
    };
    const store: Store<string> = {
      ...inner,
      accept: (request, admission) => this.#accept(owner, request, admission),
      load: (claim) =>
        ifHeld(claim, async (_row, own) => {
          const stored = await inner.load(own);
          return stored && { ...stored, claim };
        }),
      begin: (claim) =>
        ifHeld(claim, async (row, own) => {
          const begun = await inner.begin(own);
          if (begun !== undefined) row.attempt = begun.attempt;
          return begun && { ...begun, owner };
        }),
      record: async (claim, message) =>
        (await ifHeld(claim, (_row, own) => inner.record(own, message))) ?? false,
      answered: async (claim, ...answer) =>
        (await ifHeld(claim, async (row, own) => {
          const isWritten = await inner.answered(own, ...answer);
          if (isWritten) row.state = "answered";
          return isWritten;
        })) ?? false,
      expire: async (claim, answer) =>
        (await ifHeld(claim, async (row, own) => {
          const isWritten = await inner.expire(own, answer);
          if (isWritten) row.state = "answered";
          return isWritten;
        })) ?? false,
      delivered: async (claim) =>
        (await ifHeld(claim, async (row, own) => {
          const isWritten = await inner.delivered(own);
          if (isWritten) row.state = "delivered";
          return isWritten;
        })) ?? false,
      release: async (claim) =>
        (await ifHeld(claim, async (row, own) => {
          const isWritten = await inner.release(own);
          await inner.claimAbandoned();
          if (isWritten) {
            row.attempt = Math.max(0, row.attempt - 1);
            row.isGiven = false;
          }
          return isWritten;
        })) ?? false,
      join: async ({ seq }, to) => {
        await this.#inner.renew();
        const row = this.#rows.find((each) => each.seq === seq);
        if (row === undefined || row.state === "delivered") return false;
        if (!row.joined.some((each) => each.to.address === to.address)) row.joined.push({ to });
        this.#hint();
        return true;
      },
      claimAbandoned: () => Promise.reject(new Error("a gateway of a cluster polls")),
      rejections: () => Promise.resolve([]),
      renew: () => Promise.resolve(this.#renew(owner)),
      close: () => Promise.resolve(),
    };
    return { store, cluster: this.#clusterOf(owner) };
  }

  #clusterOf(owner: string): Cluster {
    return {
      owner,
      identity: () => Promise.resolve("memory"),
      poll: async (lanes) => {
        // In the order of the calls of the store.
        await this.#inner.renew();
        return this.#poll(owner, lanes);
      },
      leave: async (except) => {
        await this.#inner.renew();
        for (const [name, lane] of this.#lanes) {
          if (lane.owner === owner && !except.includes(name)) lane.owner = undefined;
        }
        for (const [name, intake] of this.#intakes) {
          if (intake.owner === owner) this.#intakes.delete(name);
        }
        this.#hint();
      },
      intake: (name) => ({
        take: () => {
          const now = this.#clock.now();
          const held = this.#intakes.get(name);
          const isOthers = held !== undefined && held.owner !== owner && held.until > now;
          if (isOthers) return Promise.resolve(undefined);
          this.#intakes.set(name, { owner, until: now + INTAKE_MS });
          return Promise.resolve(INTAKE_MS);
        },
        release: () => {
          if (this.#intakes.get(name)?.owner === owner) this.#intakes.delete(name);
          return Promise.resolve();
        },
      }),
      onHint: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      announce: (about) => {
        const known = this.#owners.get(owner);
        if (known !== undefined) known.about = about;
        return Promise.resolve();
      },
      gateways: () =>
        Promise.resolve(
          [...this.#owners]
            .filter(([name]) => this.#isAlive(name))
            .map(([name, { about }]) => ({
              owner: name,
              about,
              intakes: [...this.#intakes].filter(([, held]) => held.owner === name).map(([i]) => i),
              lanes: [...this.#lanes.values()].filter((lane) => lane.owner === name).length,
            })),
        ),
    };
  }

  #isAlive(owner: string | undefined): boolean {
    const known = owner === undefined ? undefined : this.#owners.get(owner);
    return known !== undefined && known.until > this.#clock.now();
  }

  #renew(owner: string): boolean {
    const known = this.#owners.get(owner);
    if (known !== undefined && !this.#isAlive(owner)) return false;
    const until = this.#clock.now() + OWNER_MS;
    this.#owners.set(owner, { about: undefined, left: false, ...known, until });
    return true;
  }

  #rowOf({ seq, owner, attempt }: Claim): Row | undefined {
    return this.#rows.find(
      (row) => row.seq === seq && row.owner === owner && row.attempt === attempt,
    );
  }

  #openRows(lane: string): Row[] {
    return this.#rows.filter(
      (row) => row.request.lane === lane && row.state !== "delivered" && !row.isLoose,
    );
  }

  #elsewhere(owner: string, name: string): LaneElsewhere | undefined {
    const lane = this.#lanes.get(name);
    const rows = this.#openRows(name);
    const isOurs = lane?.owner === owner;
    if (isOurs && rows.every(({ isGiven }) => isGiven)) return undefined;
    const open = rows.filter(({ state }) => state === "open").length;
    return { isFree: !isOurs && !this.#isAlive(lane?.owner) && rows.length === 0, open };
  }

  async #accept(
    owner: string,
    request: NewRequest,
    admission: Admission | undefined,
  ): Promise<Acceptance<string>> {
    const isHeard = request.address !== PUSH_ADDRESS;
    if (isHeard && this.#intakes.get(request.channel)?.owner !== owner) {
      throw new Failure("fenced", "another gateway hears this channel");
    }
    const made: Row = {
      seq: 0,
      request,
      owner,
      attempt: 0,
      state: "open",
      isCancelled: false,
      isGiven: true,
      isLoose: false,
      joined: [],
    };
    let isLeft = false;
    const repeat = admission?.repeat;
    const acceptance = await this.#inner.accept(request, {
      admit: (hasRoom) => {
        const decision = admission?.admit(hasRoom, this.#elsewhere(owner, request.lane)) ?? "wait";
        if (decision === "refuse") return decision;
        this.#rows.push(made);
        if (typeof decision === "object") {
          Object.assign(made, { isLoose: true, state: "answered" });
          if ("stop" in decision) this.#stop(request.lane);
          return decision;
        }
        const lane = this.#lanes.get(request.lane) ?? { owner: undefined, usedAt: 0 };
        this.#lanes.set(request.lane, lane);
        if (decision !== "leave") {
          if (this.#isAlive(lane.owner) && lane.owner !== owner)
            throw new Error("a lane of others");
          lane.owner = owner;
          made.attempt = decision === "begin" ? 1 : 0;
          return decision;
        }
        isLeft = true;
        Object.assign(made, { owner: undefined, isGiven: false });
        this.#hint();
        return "wait";
      },
      ...(repeat && {
        repeat: () => {
          const instead = repeat();
          if (instead !== undefined) {
            this.#rows.push(Object.assign(made, { isLoose: true, state: "answered" }));
          }
          return instead;
        },
      }),
    });
    return this.#accepted(acceptance, made, isLeft);
  }

  #accepted(acceptance: Acceptance<string>, made: Row, isLeft: boolean): Acceptance<string> {
    const owner = made.owner ?? "";
    if (acceptance.is === "left") throw new Error("the inner store shares nothing");
    if (acceptance.is === "known" || acceptance.is === "repeated") {
      const { stored } = acceptance;
      const row = this.#rows.find(({ seq }) => seq === stored.claim.seq);
      if (acceptance.is === "repeated" && row !== undefined) {
        Object.assign(row, { isLoose: true, state: "answered", owner });
      }
      return {
        ...acceptance,
        stored: { ...stored, claim: { ...stored.claim, owner: row?.owner ?? "" } },
      };
    }
    if (acceptance.is === "refused") return acceptance;
    made.seq = acceptance.claim.seq;
    if (isLeft) return { is: "left" };
    return { ...acceptance, claim: { ...acceptance.claim, owner } };
  }

  #stop(name: string): void {
    for (const row of this.#openRows(name)) if (row.state === "open") row.isCancelled = true;
    const owner = this.#lanes.get(name)?.owner;
    if (owner === undefined) return;
    this.#stopped.set(owner, (this.#stopped.get(owner) ?? new Set()).add(name));
    this.#hint();
  }

  #hint(): void {
    setImmediate(() => {
      for (const listener of this.#listeners) listener();
    });
  }

  #poll(owner: string, lanes: number): Polled {
    const claimed = this.#claim(owner, lanes);
    this.#cool(owner, lanes === 0 ? COOL_MS : WARM_MS);
    const stopped = [...(this.#stopped.get(owner) ?? [])];
    this.#stopped.delete(owner);
    const joined = this.#rows.flatMap((row) => {
      const to = row.owner === owner ? row.joined.filter(({ givenTo }) => givenTo !== owner) : [];
      for (const each of to) each.givenTo = owner;
      return to.map((each) => ({ claim: claimOf(row), request: row.request, to: each.to }));
    });
    return {
      claimed: claimed.map((row) => ({
        claim: claimOf(row),
        request: row.request,
        isAnswered: row.state === "answered",
        isCancelled: row.state === "open" && row.isCancelled,
      })),
      stopped,
      joined,
    };
  }

  #claim(owner: string, lanes: number): Row[] {
    let left = lanes;
    return this.#rows.filter((row) => {
      if (row.state === "delivered" || row.seq === 0) return false;
      const lane = row.isLoose ? undefined : this.#lanes.get(row.request.lane);
      const isKnown = row.isGiven && row.owner === owner;
      if (lane === undefined ? this.#isAlive(row.owner) : lane.owner === owner && isKnown) {
        return false;
      }
      if (lane !== undefined && lane.owner !== owner) {
        if (this.#isAlive(lane.owner) || left === 0) return false;
        left -= 1;
        lane.owner = owner;
      }
      Object.assign(row, { owner, isGiven: true });
      return true;
    });
  }

  /** Gives up lanes that had no work for long. */
  #cool(owner: string, afterMs: number): void {
    const now = this.#clock.now();
    for (const [name, lane] of this.#lanes) {
      if (this.#openRows(name).length > 0) lane.usedAt = now;
      else if (lane.owner === owner && now - lane.usedAt > afterMs) lane.owner = undefined;
    }
  }
}

function claimOf({ seq, owner, attempt }: Row): Claim {
  return { seq, owner: owner ?? "", attempt };
}
