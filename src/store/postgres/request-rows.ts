import type {
  AbandonedRequest,
  Claim,
  NewRequest,
  StoredAnswer,
  StoredRequest,
} from "../contract/store.ts";
import { fromJson } from "../json.ts";
import { ACCEPTED, ANSWERED, DELIVERED, FAILED } from "../states.ts";
import { arrayOf } from "./arrays.ts";
import type { Query } from "./connection/connections.ts";
import type { Row } from "./connection/session.ts";
import { keyOf, textOf } from "./keys.ts";

/** Bytes that a row costs besides its texts. */
export const ROW_BYTES = 512;

/** A request as the database has it, with what a transaction changed so far. */
export interface RequestRow {
  readonly seq: number;
  readonly name: string;
  readonly lane: string;
  readonly conversation: string | undefined;
  /** Of a new one, as `NewRequest.knownUntil`. */
  readonly knownUntil?: number | undefined;
  owner: string;
  attempt: number;
  state: number;
  failed: number;
  /** The JSON of what other columns do not hold; undefined if it was not read. So are the following. */
  readonly facts?: string;
  readonly content?: string | null;
  address?: string;
  answer?: string | null;
  /** The JSON of what its attempts recorded, until it is answered. */
  readonly steps?: readonly string[];
  /** It was delivered before the window. */
  readonly isOld?: boolean;
}

/** What a transaction has changed of a request. */
export interface RequestChanges {
  readonly created: Map<number, RequestRow>;
  readonly updated: Map<number, RequestUpdate>;
  readonly steps: { readonly seq: number; readonly message: string }[];
  /** Lanes whose open requests are cancelled, but for those that were accepted later. */
  readonly cancelled: Map<string, number>;
}

/** Null leaves a column as it is. */
export interface RequestUpdate {
  readonly row: RequestRow;
  failed: number | null;
  answer: string | null;
  address: string | null;
}

/** The requests of these sequence numbers that the owner holds, without their texts. */
export async function readHeld(
  query: Query,
  owner: string,
  seqs: readonly number[],
): Promise<readonly RequestRow[]> {
  if (seqs.length === 0) return [];
  const rows = await query(SQL.held, [arrayOf(seqs), keyOf(owner)]);
  return rows.map(heldOf);
}

/** The latest request of each of these lanes and names, with its texts. */
export async function readNamed(
  query: Query,
  named: readonly Pick<NewRequest, "lane" | "name">[],
  windowMs: number,
): Promise<readonly RequestRow[]> {
  if (named.length === 0) return [];
  const lanes = arrayOf(named.map(({ lane }) => keyOf(lane)));
  const names = arrayOf(named.map(({ name }) => keyOf(name)));
  const rows = await query(SQL.named, [lanes, names, windowMs]);
  return rows.map(wholeOf);
}

export async function writeChanges(
  query: Query,
  { created, updated, steps, cancelled }: RequestChanges,
): Promise<void> {
  const writes: Promise<unknown>[] = [];
  // First: of those that are updated as well, the update says what became of them.
  if (cancelled.size > 0) {
    const lanes = arrayOf([...cancelled.keys()].map(keyOf));
    writes.push(query(SQL.cancel, [lanes, arrayOf([...cancelled.values()])]));
  }
  if (created.size > 0) writes.push(query(SQL.insert, insertionOf([...created.values()])));
  if (updated.size > 0) writes.push(query(SQL.update, updateOf([...updated.values()])));
  if (steps.length > 0) {
    const seqs = arrayOf(steps.map(({ seq }) => seq));
    writes.push(query(SQL.addSteps, [seqs, arrayOf(steps.map(({ message }) => message))]));
  }
  const delivered = [...updated.values()].filter(({ row }) => row.state === DELIVERED);
  if (delivered.length > 0) {
    const seqs = arrayOf(delivered.map(({ row }) => row.seq));
    writes.push(query(SQL.dropSteps, [seqs]), query(SQL.dropJoined, [seqs]));
  }
  await Promise.all(writes);
}

function insertionOf(rows: readonly RequestRow[]): readonly string[] {
  const textsOf = (pick: (row: RequestRow) => string | null): string => arrayOf(rows.map(pick));
  const numbersOf = (pick: (row: RequestRow) => number): string => arrayOf(rows.map(pick));
  return [
    numbersOf(({ seq }) => seq),
    textsOf(({ name }) => keyOf(name)),
    textsOf(({ lane }) => keyOf(lane)),
    textsOf(({ conversation }) => (conversation === undefined ? null : keyOf(conversation))),
    textsOf(({ owner }) => keyOf(owner)),
    numbersOf(({ attempt }) => attempt),
    numbersOf(({ state }) => state),
    numbersOf(({ failed }) => failed),
    textsOf(({ facts = "" }) => facts),
    textsOf(({ content = null }) => content),
    textsOf(({ address = "" }) => keyOf(address)),
    textsOf(({ answer = null }) => answer),
    numbersOf(bytesOf),
    arrayOf(rows.map(({ knownUntil = null }) => knownUntil)),
  ];
}

function updateOf(updates: readonly RequestUpdate[]): readonly string[] {
  const numbersOf = (pick: (update: RequestUpdate) => number | null): string =>
    arrayOf(updates.map(pick));
  return [
    numbersOf(({ row }) => row.seq),
    arrayOf(updates.map(({ row }) => keyOf(row.owner))),
    numbersOf(({ row }) => row.attempt),
    numbersOf(({ row }) => row.state),
    numbersOf(({ failed }) => failed),
    arrayOf(updates.map(({ answer }) => answer)),
    arrayOf(updates.map(({ address }) => (address === null ? null : keyOf(address)))),
  ];
}

/** What a row counts for. */
export function bytesOf({ name, lane, facts, content, address, answer }: RequestRow): number {
  const texts = [name, lane, facts, content, address, answer];
  return texts.reduce((bytes, text) => bytes + (text?.length ?? 0), ROW_BYTES);
}

function heldOf(row: Row): RequestRow {
  return {
    seq: Number(row["seq"]),
    name: textOf(row["name"]),
    lane: textOf(row["lane"]),
    conversation: row["conversation"] === null ? undefined : textOf(row["conversation"]),
    owner: textOf(row["owner"]),
    attempt: Number(row["attempt"]),
    state: Number(row["state"]),
    failed: Number(row["failed"]),
  };
}

export function wholeOf(row: Row): RequestRow {
  return {
    ...heldOf(row),
    facts: String(row["facts"]),
    content: textOrNull(row["content"]),
    address: textOf(row["address"]),
    answer: textOrNull(row["answer"]),
    steps: fromJson<readonly string[]>(row["steps"]),
    isOld: row["is_old"] === true,
  };
}

function textOrNull(column: unknown): string | null {
  return typeof column === "string" ? column : null;
}

export function claimOf({ seq, owner, attempt }: RequestRow): Claim {
  return { seq, owner, attempt };
}

/** The request of a row that was read as a whole. */
export function storedOf<M>(row: RequestRow): StoredRequest<M> {
  const { content, answer = null, steps = [] } = row;
  return {
    claim: claimOf(row),
    request: { text: "", ...factsOf(row), ...(content && fromJson<Content>(content)) },
    progress: steps.map((message) => fromJson<M>(message)),
    ...(answer !== null && { answer: fromJson<StoredAnswer>(answer) }),
  };
}

/** A row of `UNDELIVERED_COLUMNS`. */
export function abandonedOf(columns: Row): AbandonedRequest {
  const row = {
    ...heldOf(columns),
    facts: String(columns["facts"]),
    address: textOf(columns["address"]),
  };
  const isAnswered = row.state === ANSWERED;
  return {
    claim: claimOf(row),
    request: factsOf(row),
    isAnswered,
    isCancelled: !isAnswered && row.failed === FAILED,
  };
}

type Facts = AbandonedRequest["request"];
type Content = Pick<NewRequest, "text" | "extras">;

function factsOf({ name, lane, conversation, facts, address = "" }: RequestRow): Facts {
  return {
    name,
    lane,
    ...(conversation !== undefined && { conversation }),
    ...fromJson<Omit<Facts, "name" | "lane" | "conversation" | "address">>(facts),
    address,
  };
}

/** The JSON of what no other column holds. */
export function factsIn({
  channel,
  client,
  context,
  id,
  stream,
  acceptedAt,
  expiresAt,
}: NewRequest): string {
  return JSON.stringify({ channel, client, context, id, stream, acceptedAt, expiresAt });
}

export function contentIn({ text, extras }: Content): string {
  return JSON.stringify({ text, extras });
}

const HELD = "seq, name, lane, conversation, owner, attempt, state, failed";
/** All but the texts of a request and of its answer. */
export const UNDELIVERED_COLUMNS = `${HELD}, facts, address`;
const STEPS = `SELECT json_agg(s.message ORDER BY s.id)::text FROM picoclaw.steps AS s
  WHERE s.seq = requests.seq AND requests.state = ${ACCEPTED}`;
/** All of a table that has the name `requests`. */
export const WHOLE_COLUMNS = `${UNDELIVERED_COLUMNS}, content, answer, coalesce((${STEPS}), '[]') AS steps`;

const SQL = {
  held: `SELECT ${HELD} FROM picoclaw.requests WHERE seq = ANY ($1::bigint[]) AND owner = $2`,
  named: `SELECT DISTINCT ON (lane, name) ${WHOLE_COLUMNS},
      delivered_at <= now() - make_interval(secs => $3::float8 / 1000) AS is_old
    FROM picoclaw.requests JOIN unnest($1::text[], $2::text[]) AS named (lane, name) USING (lane, name)
    ORDER BY lane, name, seq DESC`,
  insert: `INSERT INTO picoclaw.requests (seq, name, lane, conversation, owner, attempt, state, failed, facts, content,
      address, answer, bytes, delivered_at)
    SELECT seq, name, lane, conversation, owner, attempt, state, failed, facts, content, address, answer, bytes,
      -- A window that begins later than the delivery: that leaves it as it is.
      to_timestamp(known_until / 1000)
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[], $8::int[],
      $9::text[], $10::text[], $11::text[], $12::text[], $13::int[], $14::float8[])
      AS n (seq, name, lane, conversation, owner, attempt, state, failed, facts, content, address, answer, bytes,
        known_until)`,
  // The text, extras and address of a delivered one are not needed any more.
  update: `UPDATE picoclaw.requests AS r SET owner = u.owner, attempt = u.attempt, state = u.state,
      failed = coalesce(u.failed, r.failed),
      answer = coalesce(u.answer, r.answer),
      content = CASE u.state WHEN ${DELIVERED} THEN NULL ELSE r.content END,
      address = CASE u.state WHEN ${DELIVERED} THEN '' ELSE coalesce(u.address, r.address) END,
      delivered_at = CASE u.state WHEN ${DELIVERED} THEN coalesce(r.delivered_at, now()) ELSE r.delivered_at END,
      bytes = CASE u.state
        WHEN ${DELIVERED} THEN ${ROW_BYTES} + octet_length(r.name) + octet_length(r.lane) + octet_length(r.facts)
          + octet_length(coalesce(u.answer, r.answer))
        ELSE r.bytes + coalesce(octet_length(u.answer), 0) END
    FROM unnest($1::bigint[], $2::text[], $3::int[], $4::int[], $5::int[], $6::text[], $7::text[])
      AS u (seq, owner, attempt, state, failed, answer, address)
    WHERE r.seq = u.seq`,
  // What has no answer yet has no other use for this column.
  cancel: `UPDATE picoclaw.requests AS r SET failed = ${FAILED}
    FROM unnest($1::text[], $2::bigint[]) AS c (lane, before)
    WHERE r.lane = c.lane AND r.seq < c.before AND r.state = 0 AND r.failed = 0`,
  addSteps: `INSERT INTO picoclaw.steps (seq, message)
    SELECT seq, message FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS s (seq, message, place)
    ORDER BY place`,
  dropSteps: "DELETE FROM picoclaw.steps WHERE seq = ANY ($1::bigint[])",
  // Its owner has heard of them. Of the others it hears later.
  dropJoined: `DELETE FROM picoclaw.joined AS j USING picoclaw.requests AS r
    WHERE j.seq = ANY ($1::bigint[]) AND r.seq = j.seq AND j.reported = r.owner`,
};
