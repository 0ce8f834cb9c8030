import { Failure } from "../base/failure.ts";
import type {
  Acceptance,
  Claim,
  Finished,
  Held,
  Meter,
  Store,
  StoredAnswer,
  StoreOptions,
  Ticket,
} from "./contract.ts";
import { createConversations } from "./conversations.ts";
import { WHOLE } from "./room.ts";
import { conversationsOf } from "./spoken.ts";

/** A store that ends with its process. */
export function createMemoryStore<M>(options: StoreOptions): Store<M> {
  const { now, bounds } = options;
  const requests = new MemoryRequests<M>(options);
  const conversations = createConversations<M>({ now, bounds, ...KEPT });
  const meters = new Map<string, Meter>();
  let isClosed = false;
  /** As a store elsewhere would: later, in the order of the calls, and never by throwing. */
  const run = <T>(work: () => T): Promise<T> =>
    Promise.resolve().then(() => {
      if (isClosed) throw new Failure("busy", "the store is closed");
      return work();
    });
  return {
    accept: (ticket) => run(() => requests.accept(ticket)),
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
    ...conversationsOf(conversations, run),
    meters: () => run(() => [...meters.values()]),
    keepMeters: (take) =>
      run(() => {
        const { put, drop } = take();
        for (const name of drop) meters.delete(name);
        for (const meter of put) meters.set(meter.name, meter);
      }),
    takeOver: () => run(() => requests.takeOver()),
    finished: () => run(() => requests.finished()),
    renew: () => run(() => requests.renew()),
    purge: () =>
      run(() => {
        requests.purge();
        conversations.purge();
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
  messages: WHOLE.messages,
  idleMs: 24 * 60 * 60_000,
};

interface Row<M> {
  claim: Claim;
  readonly ticket: Held<M>["ticket"];
  readonly progress: M[];
  leaseUntil: number;
  answer: StoredAnswer | undefined;
  deliveredAt: number | undefined;
}

/** What a row costs beside its texts. */
const ROW_BYTES = 512;

class MemoryRequests<M> {
  readonly #options: StoreOptions;
  readonly #rows = new Map<number, Row<M>>();
  /** The latest request of each name. */
  readonly #byName = new Map<string, Row<M>>();
  #last = 0;

  constructor(options: StoreOptions) {
    this.#options = options;
  }

  accept({ mayRepeat, retriesFailed, ...ticket }: Ticket): Acceptance<M> {
    const known = mayRepeat ? this.#byName.get(ticket.name) : undefined;
    if (known !== undefined && !this.#isOver(known, retriesFailed)) {
      return { is: "known", held: heldOf(known) };
    }
    this.#last += 1;
    const claim = { seq: this.#last, owner: this.#options.owner, attempt: 0 };
    const row: Row<M> = {
      claim,
      ticket,
      progress: [],
      leaseUntil: this.#leaseUntil(),
      answer: undefined,
      deliveredAt: undefined,
    };
    this.#rows.set(claim.seq, row);
    this.#byName.set(ticket.name, row);
    return { is: "new", claim };
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
    if (row !== undefined) row.answer = answer;
    return row?.ticket.conversation ?? row?.ticket.lane;
  }

  delivered(claim: Claim): boolean {
    const row = this.#inForce(claim);
    if (row?.answer === undefined || row.deliveredAt !== undefined) return false;
    row.deliveredAt = this.#options.now();
    row.progress.length = 0;
    return true;
  }

  release(claim: Claim): boolean {
    const row = this.#accepted(claim);
    if (row === undefined) return false;
    row.claim = { ...row.claim, owner: "", attempt: Math.max(row.claim.attempt - 1, 0) };
    row.leaseUntil = 0;
    return true;
  }

  takeOver(): readonly Held<M>[] {
    const { owner, now, sole = false } = this.#options;
    const left = [...this.#rows.values()].filter(
      (row) =>
        row.deliveredAt === undefined &&
        row.claim.owner !== owner &&
        (sole || row.claim.owner === "" || row.leaseUntil <= now()),
    );
    return left.map((row) => {
      row.claim = { ...row.claim, owner };
      row.leaseUntil = this.#leaseUntil();
      return heldOf(row);
    });
  }

  finished(): readonly Finished[] {
    const { now, bounds } = this.#options;
    const since = now() - bounds.windowMs;
    return this.#newest()
      .filter(({ at }) => at > since)
      .map(({ row: { ticket }, answer, at }) => ({ name: ticket.name, answer, at }))
      .toReversed();
  }

  renew(): void {
    for (const row of this.#rows.values()) {
      if (row.claim.owner === this.#options.owner) row.leaseUntil = this.#leaseUntil();
    }
  }

  purge(): void {
    const { now, bounds } = this.#options;
    const since = now() - bounds.windowMs;
    const kept = new Set(this.#newest().map(({ row }) => row));
    for (const row of this.#rows.values()) {
      if (row.deliveredAt === undefined) continue;
      if (row.deliveredAt > since && kept.has(row)) continue;
      this.#rows.delete(row.claim.seq);
      if (this.#byName.get(row.ticket.name) === row) this.#byName.delete(row.ticket.name);
    }
  }

  /** Delivered requests within the bounds of rows and bytes, the latest first. */
  #newest(): { readonly row: Row<M>; readonly answer: StoredAnswer; readonly at: number }[] {
    const { bounds } = this.#options;
    let held = 0;
    return [...this.#rows.values()]
      .flatMap((row) => {
        const { answer, deliveredAt: at } = row;
        return answer === undefined || at === undefined ? [] : [{ row, answer, at }];
      })
      .toSorted((a, b) => b.at - a.at || b.row.claim.seq - a.row.claim.seq)
      .slice(0, bounds.rows)
      .filter(({ row }) => (held += bytesOf(row)) <= bounds.bytes);
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

function heldOf<M>({ claim, ticket, progress, answer }: Row<M>): Held<M> {
  return { claim, ticket, progress: [...progress], ...(answer && { answer }) };
}

/** As the store on disk counts them: their JSON. */
function bytesOf<M>({ ticket, answer }: Row<M>): number {
  return JSON.stringify(ticket).length + JSON.stringify(answer).length + ROW_BYTES;
}
