import { Failure } from "../../base/failure.ts";
import { contentLength, PUSH_ADDRESS, withoutContent } from "../../base/request-extras.ts";
import type {
  Acceptance,
  Admission,
  Claim,
  LaneElsewhere,
  NewRequest,
  Ready,
  Stop,
  StoredAnswer,
  StoreOptions,
} from "../contract/store.ts";
import { ACCEPTED, ANSWERED, DELIVERED, FAILED, REJECTED } from "../states.ts";
import { lockPushed, readLanes, writeLanes } from "./cluster/lanes.ts";
import type { LaneChanges, LaneState } from "./cluster/lanes.ts";
import { lockOwner, ownerIsDead } from "./cluster/owners.ts";
import type { Query, Transaction } from "./connection/connections.ts";
import { sendHint } from "./connection/hints.ts";
import {
  ROW_BYTES,
  bytesOf,
  claimOf,
  contentIn,
  factsIn,
  readHeld,
  readNamed,
  storedOf,
  writeChanges,
} from "./request-rows.ts";
import type { RequestChanges, RequestRow } from "./request-rows.ts";
import type { Room } from "./room.ts";

/** A turn that is added to a conversation. */
export interface AddedTurn<M> {
  readonly name: string;
  readonly messages: readonly M[];
  readonly forgets: boolean;
}

/** A write of requests and turns. */
export type RequestCall<M> =
  | {
      readonly is: "accept";
      readonly request: NewRequest;
      readonly admission: Admission | undefined;
    }
  | { readonly is: "begin" | "delivered" | "release"; readonly claim: Claim }
  | { readonly is: "record"; readonly claim: Claim; readonly message: string }
  | { readonly is: "expire"; readonly claim: Claim; readonly answer: StoredAnswer }
  | {
      readonly is: "answer";
      readonly claim: Claim;
      readonly answer: StoredAnswer;
      readonly turn: Omit<AddedTurn<M>, "name">;
    }
  | { readonly is: "append"; readonly turn: AddedTurn<M> }
  | { readonly is: "poll"; readonly lanes: number };

export interface RequestsOptions<M> extends Pick<StoreOptions, "owner" | "bounds"> {
  readonly room: Room;
  /** The intakes of these channels whose lease this owner lost. */
  readonly lost: (query: Query, channels: ReadonlySet<string>) => Promise<ReadonlySet<string>>;
  /** Lanes of which requests were claimed without the caller of `poll` knowing it. */
  readonly unreported: () => ReadonlySet<string>;
  /** A lane that this owner holds was used. */
  readonly used: (lane: string) => void;
  readonly append: (tx: Transaction, turns: readonly AddedTurn<M>[]) => Promise<void>;
  readonly poll: (query: Query, lanes: number) => Promise<unknown>;
}

type Result<M> = Acceptance<M> | Claim | boolean | undefined | Failure;

/** Does writes of requests in their order: reads what they are about, decides, and writes what changed. */
export async function applyRequests<M>(
  tx: Transaction,
  calls: readonly RequestCall<M>[],
  options: RequestsOptions<M>,
): Promise<readonly unknown[]> {
  const batch = new RequestBatch<M>(tx, options);
  await batch.read(calls);
  const results: unknown[] = calls.map((call) => batch.apply(call));
  await batch.write();
  const polls = calls.map((call) => (call.is === "poll" ? call.lanes : -1));
  const lanes = Math.max(...polls);
  // The first one has all that the others would have.
  if (lanes >= 0 && batch.isAlive) {
    results[polls.findIndex((each) => each >= 0)] = await options.poll(tx.query, lanes);
  }
  return results;
}

class RequestBatch<M> {
  readonly #tx: Transaction;
  readonly #options: RequestsOptions<M>;
  readonly #hints = new Set<string>();
  /** Those that this owner holds, by their numbers. */
  readonly #held = new Map<number, RequestRow>();
  /** The latest of each name in a lane. */
  readonly #named = new Map<string, RequestRow>();
  #lanes: ReadonlyMap<string, LaneState> = new Map();
  #lost: ReadonlySet<string> = new Set();
  /** Whether this owner lives; else others may hold what was its own. */
  isAlive = true;
  /** Numbers for new requests, the lowest first. */
  #numbers: readonly number[] = [];
  #used = 0;
  readonly #changes: RequestChanges = {
    created: new Map(),
    updated: new Map(),
    steps: [],
    cancelled: new Map(),
  };
  readonly #laneChanges: LaneChanges = { claimed: new Set(), released: new Set(), stopped: [] };
  readonly #turns: AddedTurn<M>[] = [];

  constructor(tx: Transaction, options: RequestsOptions<M>) {
    this.#tx = tx;
    this.#options = options;
  }

  async read(calls: readonly RequestCall<M>[]): Promise<void> {
    const { query } = this.#tx;
    const { owner, bounds, room, lost } = this.#options;
    const seqs = new Set(calls.map((call) => ("claim" in call ? call.claim.seq : -1)));
    seqs.delete(-1);
    const accepted = calls.flatMap((call) => (call.is === "accept" ? [call.request] : []));
    const lanes = new Set(accepted.map(({ lane }) => lane));
    const wanted = accepted.map((each) => ({ lane: each.lane, bytes: roomFor(each) }));
    const pushed = accepted.filter(isPush).map(({ lane }) => lane);
    const [, isAlive, lostChannels, held, named, states, numbers] = await Promise.all([
      pushed.length > 0 ? lockPushed(query, pushed) : undefined,
      lockOwner(query, owner),
      lost(query, new Set(accepted.map(({ channel }) => channel))),
      readHeld(query, owner, [...seqs]),
      readNamed(
        query,
        accepted.filter(({ mayRepeat }) => mayRepeat),
        bounds.windowMs,
      ),
      readLanes(query, [...lanes]),
      accepted.length > 0 ? query(SQL.numbers, [accepted.length]) : [],
      accepted.length > 0 ? room.prepare(query, wanted) : undefined,
    ]);
    this.isAlive = isAlive;
    this.#lost = lostChannels;
    this.#lanes = states;
    this.#numbers = numbers.map((row) => Number(row["seq"]));
    for (const row of [...held, ...named]) if (row.owner === owner) this.#held.set(row.seq, row);
    for (const row of named) this.#named.set(nameOf(row), row);
  }

  apply(call: RequestCall<M>): Result<M> {
    switch (call.is) {
      case "accept":
        return this.#accept(call.request, call.admission);
      case "begin":
        return this.#begin(call.claim);
      case "record":
        return this.#record(call.claim, call.message);
      case "answer":
        return this.#answer(call.claim, call.answer, call.turn);
      case "expire":
        return call.claim.attempt === 0 && this.#answered(call.claim, call.answer) !== undefined;
      case "delivered":
        return this.#delivered(call.claim);
      case "release":
        return this.#release(call.claim);
      case "append":
        this.#turns.push(call.turn);
        return undefined;
      case "poll":
        return this.isAlive ? undefined : ownerIsDead();
    }
    return call satisfies never;
  }

  async write(): Promise<void> {
    const { query } = this.#tx;
    const { owner, append } = this.#options;
    await Promise.all([
      writeChanges(query, this.#changes),
      writeLanes(query, owner, this.#laneChanges),
      ...[...this.#hints].map((to) => sendHint(query, to)),
      this.#turns.length > 0 ? append(this.#tx, this.#turns) : undefined,
    ]);
  }

  #accept(request: NewRequest, admission?: Admission): Acceptance<M> | Failure {
    if (!this.isAlive) return ownerIsDead();
    if (!isPush(request) && this.#lost.has(request.channel)) return fenced(request.channel);
    const earlier = this.#earlier(request);
    if (earlier !== undefined) return this.#again(request, earlier, admission);
    const hasRoom = this.#options.room.has(request.lane, roomFor(request));
    const elsewhere = this.#elsewhere(request.lane);
    const decision = admission?.admit(hasRoom, elsewhere) ?? "wait";
    if (decision === "refuse") return { is: "refused" };
    if (typeof decision === "string") return this.#take(request, decision);
    return this.#answerNow(request, decision);
  }

  #answerNow(request: NewRequest, decision: StoredAnswer | Stop | Ready): Acceptance<M> {
    if ("ready" in decision) return this.#store(request, decision.ready);
    if (!("stop" in decision)) return this.#reject(request, decision);
    this.#stop(request.lane);
    return this.#reject(request, decision.stop);
  }

  #again(request: NewRequest, earlier: RequestRow, admission?: Admission): Acceptance<M> {
    if (earlier.state !== DELIVERED || admission?.repeat === undefined) {
      return { is: "known", stored: storedOf(earlier) };
    }
    const instead = admission.repeat();
    return instead === undefined
      ? this.#redeliver(earlier, request.address)
      : this.#reject({ ...request, name: `again ${request.name}` }, instead);
  }

  /** The earlier request that this one repeats, unless it was answered too long ago or is to run again. */
  #earlier(request: NewRequest): RequestRow | undefined {
    const row = request.mayRepeat ? this.#named.get(nameOf(request)) : undefined;
    if (row?.state !== DELIVERED) return row;
    const isOld = row.isOld === true && request.knownUntil === undefined;
    return isOld || (row.failed !== 0 && request.retriesFailed) ? undefined : row;
  }

  #elsewhere(lane: string): LaneElsewhere | undefined {
    const { owner, unclaimed, open, undelivered } = this.#laneOf(lane);
    const { owner: self, unreported } = this.#options;
    if (owner === self && unclaimed === 0 && !unreported().has(lane)) return undefined;
    return { isFree: owner === undefined && undelivered === 0, open };
  }

  #take(request: NewRequest, decision: "wait" | "begin" | "leave"): Acceptance<M> {
    const { owner, room, used } = this.#options;
    const lane = this.#laneOf(request.lane);
    const isLeft = decision === "leave";
    const row = this.#create(request, {
      owner: isLeft ? "" : owner,
      attempt: decision === "begin" ? 1 : 0,
      content: contentIn(request),
    });
    room.count(row.lane, 1, bytesOf(row));
    lane.open += 1;
    lane.undelivered += 1;
    if (isLeft) {
      lane.unclaimed += 1;
      this.#hints.add(lane.owner ?? "");
      return { is: "left" };
    }
    if (lane.owner === undefined) {
      lane.owner = owner;
      this.#laneChanges.claimed.add(row.lane);
    }
    if (lane.owner === owner) used(row.lane);
    return { is: "new", claim: claimOf(row) };
  }

  /** Stores what does not run, without its text; it is of its owner, whoever has its lane. */
  #reject(request: NewRequest, answer: StoredAnswer): Acceptance<M> {
    return this.#store(request, answer, REJECTED);
  }

  #store(
    request: NewRequest,
    answer: StoredAnswer,
    failed: 0 | typeof REJECTED = 0,
  ): Acceptance<M> {
    const { owner, room } = this.#options;
    const row = this.#create(withoutContent(request), {
      owner,
      state: ANSWERED,
      failed,
      answer: JSON.stringify(answer),
    });
    // A rejection takes no room.
    if (failed === 0) {
      room.count(row.lane, 1, bytesOf(row));
      this.#laneOf(row.lane).undelivered += 1;
    }
    return { is: "answered", claim: claimOf(row), answer };
  }

  #create(request: NewRequest, state: Partial<RequestRow> & Pick<RequestRow, "owner">): RequestRow {
    const seq = this.#numbers[this.#used] ?? 0;
    this.#used += 1;
    const { name, lane, conversation, address, knownUntil } = request;
    const first = { attempt: 0, state: ACCEPTED, failed: 0, answer: null, content: null };
    const row = {
      seq,
      name,
      lane,
      conversation,
      address,
      knownUntil,
      facts: factsIn(request),
      ...first,
      ...state,
    };
    this.#named.set(nameOf(row), row);
    this.#changes.created.set(seq, row);
    return row;
  }

  /** Makes a delivered request undelivered, with another address; its window does not begin again. */
  #redeliver(row: RequestRow, address: string): Acceptance<M> {
    row.owner = this.#options.owner;
    row.state = ANSWERED;
    row.address = address;
    this.#held.set(row.seq, row);
    this.#update(row, { address });
    return { is: "repeated", stored: storedOf(row) };
  }

  /** Cancels what a lane has open; its owner is told, if it is another. */
  #stop(lane: string): void {
    const { owner } = this.#laneOf(lane);
    this.#changes.cancelled.set(lane, this.#numbers[this.#used] ?? 0);
    for (const row of [...this.#changes.created.values(), ...this.#held.values()]) {
      if (row.lane === lane && row.state === ACCEPTED && row.failed === 0) row.failed = FAILED;
    }
    if (owner === undefined || owner === this.#options.owner) return;
    this.#laneChanges.stopped.push({ lane, owner });
    this.#hints.add(owner);
  }

  #begin(claim: Claim): Claim | undefined {
    const row = this.#inForce(claim, ACCEPTED);
    if (row === undefined) return undefined;
    row.attempt += 1;
    this.#update(row);
    return claimOf(row);
  }

  #record(claim: Claim, message: string): boolean {
    const row = this.#inForce(claim, ACCEPTED);
    if (row !== undefined) this.#changes.steps.push({ seq: row.seq, message });
    return row !== undefined;
  }

  #answer(claim: Claim, answer: StoredAnswer, turn: Omit<AddedTurn<M>, "name">): boolean {
    const row = claim.attempt === 0 ? undefined : this.#answered(claim, answer);
    if (row !== undefined) this.#turns.push({ name: row.conversation ?? row.lane, ...turn });
    return row !== undefined;
  }

  #answered(claim: Claim, answer: StoredAnswer): RequestRow | undefined {
    const row = this.#inForce(claim, ACCEPTED);
    if (row === undefined) return undefined;
    const text = JSON.stringify(answer);
    row.state = ANSWERED;
    row.failed = answer.failure === undefined ? 0 : FAILED;
    row.answer = text;
    this.#update(row, { answer: text, failed: row.failed });
    this.#options.room.count(row.lane, 0, text.length);
    this.#options.used(row.lane);
    const lane = this.#lanes.get(row.lane);
    if (lane !== undefined) lane.open -= 1;
    return row;
  }

  #delivered(claim: Claim): boolean {
    const row = this.#inForce(claim, ANSWERED);
    if (row === undefined) return false;
    row.state = DELIVERED;
    this.#update(row);
    // A rejection took no room.
    if (row.failed !== REJECTED) this.#options.room.count(row.lane, 0, 0);
    return true;
  }

  /** Gives up its lane, too: another owner may continue. */
  #release(claim: Claim): boolean {
    const row = this.#inForce(claim, ACCEPTED);
    if (row === undefined) return false;
    row.owner = "";
    row.attempt = Math.max(row.attempt - 1, 0);
    this.#update(row);
    this.#laneChanges.released.add(row.lane);
    this.#hints.add("");
    const lane = this.#lanes.get(row.lane);
    if (lane?.owner === this.#options.owner) lane.owner = undefined;
    if (lane !== undefined) lane.unclaimed += 1;
    return true;
  }

  /** The request if the claim is in force: same owner, same attempt, and in the state that the write expects. */
  #inForce({ seq, owner, attempt }: Claim, state: number): RequestRow | undefined {
    const row = this.#held.get(seq);
    const isOurs = row?.owner === owner && owner === this.#options.owner;
    return isOurs && row?.attempt === attempt && row.state === state ? row : undefined;
  }

  #update(
    row: RequestRow,
    written: { answer?: string; address?: string; failed?: number } = {},
  ): void {
    const {
      answer = null,
      address = null,
      failed = null,
    } = this.#changes.updated.get(row.seq) ?? {};
    this.#changes.updated.set(row.seq, { row, answer, address, failed, ...written });
  }

  #laneOf(lane: string): LaneState {
    return this.#lanes.get(lane) ?? { owner: undefined, open: 0, unclaimed: 0, undelivered: 0 };
  }
}

/** What a request needs to fit into the bounds. */
function roomFor(request: NewRequest): number {
  return contentLength(request) + ROW_BYTES;
}

function nameOf({ lane, name }: Pick<NewRequest, "lane" | "name">): string {
  return `${lane.length}:${lane}${name}`;
}

/** Whether no channel heard it: whoever pushes stores it. */
function isPush({ address }: Pick<NewRequest, "address">): boolean {
  return address === PUSH_ADDRESS;
}

function fenced(channel: string): Failure {
  return new Failure("fenced", "another gateway takes the requests", {
    why: `this one does not hold the intake of channel ${channel} any more`,
  });
}

const SQL = {
  numbers: "SELECT nextval('picoclaw.requests_seq') AS seq FROM generate_series(1, $1::int)",
};
