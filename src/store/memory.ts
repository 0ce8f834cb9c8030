import { Failure } from "../base/failure.ts";
import { asyncConversations } from "./async-conversations.ts";
import type {
  Acceptance,
  Admission,
  Claim,
  StoredRequest,
  AbandonedRequest,
  Counter,
  Store,
  StoredAnswer,
  StoreOptions,
  NewRequest,
} from "./contract.ts";
import { createConversations } from "./conversations.ts";
import { COUNTER_GRACE_MS } from "./counters.ts";
import { SUMMARY_LIMITS } from "./size-budget.ts";

/** A store that ends with its process. */
export function createMemoryStore<M>(options: StoreOptions): Store<M> {
  const { now, bounds } = options;
  const requests = new MemoryRequests<M>(options);
  const conversations = createConversations<M>({ now, bounds, ...KEPT });
  const meters = new Map<string, Counter>();
  let isClosed = false;
  /** As a store elsewhere would: later, in the order of the calls, and never by throwing. */
  const run = <T>(work: () => T): Promise<T> =>
    Promise.resolve().then(() => {
      if (isClosed) throw new Failure("busy", "the store is closed");
      return work();
    });
  return {
    accept: (ticket, admission) => run(() => requests.accept(ticket, admission)),
    load: (claim) => run(() => requests.load(claim)),
    begin: (claim) => run(() => requests.begin(claim)),
    record: (claim, message) => run(() => requests.record(claim, message)),
    answered: (claim, answer, messages, forgets) =>
      run(() => {
        const lane = claim.attempt === 0 ? undefined : requests.answered(claim, answer);
        if (lane !== undefined) conversations.append(lane, messages, forgets);
        return lane !== undefined;
      }),
    expire: (claim, answer) =>
      run(() => claim.attempt === 0 && requests.answered(claim, answer) !== undefined),
    delivered: (claim) => run(() => requests.delivered(claim)),
    release: (claim) => run(() => requests.release(claim)),
    ...asyncConversations(conversations, run),
    counters: (most) => run(() => [...meters.values()].slice(0, most)),
    counter: (name) => run(() => meters.get(name)),
    writeCounters: (take) =>
      run(() => {
        const { put, drop } = take();
        for (const name of drop) meters.delete(name);
        for (const meter of put) meters.set(meter.name, meter);
      }),
    claimAbandoned: () => run(() => requests.claimAbandoned()),
    rejections: (after, most) => run(() => requests.rejections(after, most)),
    renew: () => run(() => requests.renew()),
    purge: () =>
      run(() => {
        requests.purge();
        conversations.purge();
        purgeMeters(meters, options);
      }),
    close() {
      isClosed = true;
      return Promise.resolve();
    },
  };
}

/** Bounds of all conversations together; an idle one leaves memory after a day. */
const KEPT = {
  conversations: 1000,
  characters: 8 * 2 ** 20,
  messages: SUMMARY_LIMITS.messages,
  idleMs: 24 * 60 * 60_000,
  meters: 16_384,
};

/** Drops the meters that count for nothing for long, and those that do soonest where there are too many. */
function purgeMeters(meters: Map<string, Counter>, { now, bounds }: StoreOptions): void {
  const before = now() - COUNTER_GRACE_MS;
  const counted = [...meters.values()].flatMap(({ name, until }) =>
    until === undefined ? [] : [{ name, until }],
  );
  const excess = counted.length - Math.min(bounds.counters, KEPT.meters);
  for (const [index, { name, until }] of counted.toSorted((a, b) => a.until - b.until).entries()) {
    if (until > before && index >= excess) return;
    meters.delete(name);
  }
}

interface Row<M> {
  claim: Claim;
  ticket: StoredRequest<M>["request"];
  readonly isRejected: boolean;
  readonly progress: M[];
  leaseUntil: number;
  answer: StoredAnswer | undefined;
  deliveredAt: number | undefined;
  /** When it was delivered for the first time: its window begins then. */
  firstDeliveredAt?: number;
}

/** What a row costs beside its texts. */
const ROW_BYTES = 512;

class MemoryRequests<M> {
  readonly #options: StoreOptions;
  readonly #rows = new Map<number, Row<M>>();
  /** The latest request of each name. */
  readonly #byName = new Map<string, Row<M>>();
  /** What counts against the bounds, of all and of each lane. */
  readonly #held = { rows: 0, bytes: 0 };
  readonly #lanes = new Map<string, { rows: number; bytes: number }>();
  #last = 0;

  constructor(options: StoreOptions) {
    this.#options = options;
  }

  accept(ticket: NewRequest, admission?: Admission): Acceptance<M> {
    const known = ticket.mayRepeat ? this.#byName.get(ticket.name) : undefined;
    if (known !== undefined && !this.#isOver(known, ticket.retriesFailed)) {
      if (known.deliveredAt === undefined || admission === undefined) {
        return { is: "known", stored: heldOf(known) };
      }
      const instead = admission.repeat();
      if (instead !== undefined) {
        return this.#reject({ ...ticket, name: `again ${ticket.name}` }, instead);
      }
      known.deliveredAt = undefined;
      known.claim = { ...known.claim, owner: this.#options.owner };
      known.ticket = { ...known.ticket, address: ticket.address };
      return { is: "repeated", stored: heldOf(known) };
    }
    const decision = admission?.admit(this.#hasRoom(ticket)) ?? "wait";
    if (typeof decision === "object") return this.#reject(ticket, decision);
    return { is: "new", claim: this.#add(ticket, decision === "begin" ? 1 : 0).claim };
  }

  load(claim: Claim): StoredRequest<M> | undefined {
    const row = this.#inForce(claim);
    return row && heldOf(row);
  }

  begin(claim: Claim): Claim | undefined {
    const row = this.#accepted(claim);
    if (row === undefined) return undefined;
    row.claim = { ...row.claim, attempt: row.claim.attempt + 1 };
    row.leaseUntil = this.#leaseUntil();
    return row.claim;
  }

  record(claim: Claim, message: M): boolean {
    const row = this.#accepted(claim);
    row?.progress.push(message);
    return row !== undefined;
  }

  /** The conversation of the request, where the claim is in force. */
  answered(claim: Claim, answer: StoredAnswer): string | undefined {
    const row = this.#accepted(claim);
    if (row !== undefined) this.#change(row, { answer });
    return row?.ticket.conversation ?? row?.ticket.lane;
  }

  delivered(claim: Claim): boolean {
    const row = this.#inForce(claim);
    if (row?.answer === undefined || row.deliveredAt !== undefined) return false;
    row.firstDeliveredAt ??= this.#options.now();
    row.deliveredAt = row.firstDeliveredAt;
    row.progress.length = 0;
    this.#change(row, { ticket: { ...row.ticket, text: "", address: "" } });
    return true;
  }

  release(claim: Claim): boolean {
    const row = this.#accepted(claim);
    if (row === undefined) return false;
    row.claim = { ...row.claim, owner: "", attempt: Math.max(row.claim.attempt - 1, 0) };
    row.leaseUntil = 0;
    return true;
  }

  claimAbandoned(): readonly AbandonedRequest[] {
    const { owner, now, sole = false } = this.#options;
    const left = [...this.#rows.values()].filter(
      (row) =>
        row.deliveredAt === undefined &&
        row.claim.owner !== owner &&
        (sole || row.claim.owner === "" || row.leaseUntil <= now()),
    );
    for (const row of left) {
      row.claim = { ...row.claim, owner };
      row.leaseUntil = this.#leaseUntil();
    }
    return left.filter(({ isRejected }) => !isRejected).map(leftOf);
  }

  rejections(after: number, most: number): readonly StoredRequest<M>[] {
    return [...this.#rows.values()]
      .filter(
        ({ claim, isRejected, deliveredAt }) =>
          isRejected &&
          deliveredAt === undefined &&
          claim.seq > after &&
          claim.owner === this.#options.owner,
      )
      .slice(0, most)
      .map(heldOf);
  }

  renew(): void {
    for (const row of this.#rows.values()) {
      if (row.claim.owner === this.#options.owner) row.leaseUntil = this.#leaseUntil();
    }
  }

  purge(): void {
    const { now, bounds } = this.#options;
    const since = now() - bounds.windowMs;
    let rejections = 0;
    for (const row of [...this.#rows.values()].toReversed()) {
      if (row.deliveredAt === undefined) continue;
      if (row.isRejected) rejections += 1;
      if (row.deliveredAt > since && rejections <= bounds.rejections) continue;
      this.#rows.delete(row.claim.seq);
      if (!row.isRejected) this.#count(row, -1, -bytesOf(row));
      if (this.#byName.get(row.ticket.name) === row) this.#byName.delete(row.ticket.name);
    }
  }

  #add(
    { mayRepeat: _repeat, retriesFailed: _retry, ...ticket }: NewRequest,
    attempt: 0 | 1,
  ): Row<M> {
    const row = this.#row(ticket, undefined, attempt);
    this.#count(row, 1, bytesOf(row));
    return row;
  }

  /** Its text is not kept: nobody runs it. */
  #reject(
    { mayRepeat: _repeat, retriesFailed: _retry, ...ticket }: NewRequest,
    answer: StoredAnswer,
  ) {
    const { claim } = this.#row({ ...ticket, text: "" }, answer);
    return { is: "answered", claim, answer } as const;
  }

  #row(ticket: StoredRequest<M>["request"], answer: StoredAnswer | undefined, attempt = 0): Row<M> {
    this.#last += 1;
    const row: Row<M> = {
      claim: { seq: this.#last, owner: this.#options.owner, attempt },
      ticket,
      isRejected: answer !== undefined,
      progress: [],
      leaseUntil: this.#leaseUntil(),
      answer,
      deliveredAt: undefined,
    };
    this.#rows.set(this.#last, row);
    this.#byName.set(ticket.name, row);
    return row;
  }

  #hasRoom({ lane, text }: NewRequest): boolean {
    const { rows, bytes, laneRows, laneBytes } = this.#options.bounds;
    const more = text.length + ROW_BYTES;
    const own = this.#lanes.get(lane) ?? { rows: 0, bytes: 0 };
    if (this.#held.rows >= rows || this.#held.bytes + more > bytes) return false;
    return own.rows < laneRows && own.bytes + more <= laneBytes;
  }

  #change(row: Row<M>, change: Partial<Pick<Row<M>, "answer" | "ticket">>): void {
    const before = bytesOf(row);
    Object.assign(row, change);
    if (!row.isRejected) this.#count(row, 0, bytesOf(row) - before);
  }

  #count({ ticket: { lane } }: Row<M>, rows: number, bytes: number): void {
    const own = this.#lanes.get(lane) ?? { rows: 0, bytes: 0 };
    for (const held of [own, this.#held]) {
      held.rows += rows;
      held.bytes += bytes;
    }
    if (own.rows > 0) this.#lanes.set(lane, own);
    else this.#lanes.delete(lane);
  }

  #leaseUntil(): number {
    return this.#options.now() + this.#options.bounds.leaseMs;
  }

  #inForce({ seq, owner, attempt }: Claim): Row<M> | undefined {
    const row = this.#rows.get(seq);
    return row?.claim.owner === owner && row.claim.attempt === attempt ? row : undefined;
  }

  #accepted(claim: Claim): Row<M> | undefined {
    const row = this.#inForce(claim);
    return row?.answer === undefined ? row : undefined;
  }

  /** Whether the same request is tried anew: answered too long ago, or in vain and asked for again. */
  #isOver({ deliveredAt, answer }: Row<M>, retriesFailed: boolean): boolean {
    if (deliveredAt === undefined) return false;
    const isOld = deliveredAt <= this.#options.now() - this.#options.bounds.windowMs;
    return isOld || (retriesFailed && answer?.failure !== undefined);
  }
}

function heldOf<M>({ claim, ticket, progress, answer }: Row<M>): StoredRequest<M> {
  return { claim, request: ticket, progress: [...progress], ...(answer && { answer }) };
}

function leftOf<M>({
  claim,
  ticket: { text: _text, ...ticket },
  answer,
}: Row<M>): AbandonedRequest {
  return { claim, request: ticket, isAnswered: answer !== undefined };
}

/** As the store on disk counts them: their JSON. */
function bytesOf<M>({ ticket, answer }: Row<M>): number {
  const said = answer === undefined ? 0 : JSON.stringify(answer).length;
  return JSON.stringify(ticket).length + said + ROW_BYTES;
}
