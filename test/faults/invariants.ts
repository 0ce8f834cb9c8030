/** What happened in one run of the fault harness; times are milliseconds on one clock. */
export interface History {
  readonly asked: readonly Asked[];
  /** In the order of arrival. */
  readonly heard: readonly Heard[];
  readonly turns: readonly Turn[];
  /** When the gateway was killed or killed itself. */
  readonly kills: readonly number[];
  /** When it was stopped: a turn that was cut off runs again, and is not counted as an attempt. */
  readonly stops?: readonly number[];
  /** While it was frozen: data from the model was not read yet. */
  readonly freezes?: readonly { readonly from: number; readonly to: number }[];
  /** While a client had no subscription: it may have missed parts of a stream. */
  readonly absences?: readonly Absence[];
  /** Whether a rejection ends a request, because of limits; otherwise every request must be answered. */
  readonly mayBeRejected?: boolean;
}

export interface Absence {
  readonly client: string;
  readonly from: number;
  readonly to: number;
}

/** One request, in the order in which its client published them. */
export interface Asked {
  readonly client: string;
  readonly id: string;
  readonly expected: string;
  /** Whether the broker acknowledged it. */
  readonly isAcknowledged: boolean;
  /** When it was published. */
  readonly from?: number;
}

/** One part of an answer, as a device received it. */
export interface Heard {
  readonly client: string;
  readonly id: string;
  readonly seq: number;
  readonly text: string;
  readonly done: boolean;
  readonly error?: string;
  /** Whether no answer can follow the error: it has no `retry_after`. */
  readonly isForGood?: boolean;
  readonly when?: number;
}

/** One turn, as the model saw it. */
export interface Turn {
  readonly client: string;
  readonly id: string;
  readonly from: number;
  /** When its answer was complete or its connection was cut. */
  readonly to: number;
}

/** The promises that the history breaks, in words; a good run breaks none. */
export function violations(history: History): string[] {
  return [
    ...answerViolations(history),
    ...orderViolations(history),
    ...repeatViolations(history),
    ...overlapViolations(history),
  ];
}

interface Answer {
  readonly text: string;
  readonly error?: string;
  readonly when?: number;
  /** The index of its last part in `heard`. */
  readonly at: number;
}

/** After so many cut off attempts the gateway gives up, with the error `internal`. */
const ATTEMPTS = 3;
/** Rejections; the answer may still follow one with `retry_after`. */
const REJECTIONS = new Set(["busy", "rate_limited"]);

function answerViolations(history: History): string[] {
  const { asked, turns } = history;
  const hearing = hearingOf(history);
  const ran = new Set(turns.map(nameOf));
  return asked
    .filter(({ isAcknowledged }) => isAcknowledged)
    .flatMap((request) => {
      const { answers, rejections, broken } = hearing(request);
      const isRejected = answers.every(({ error }) => isRejection(error)) && rejections > 0;
      if (history.mayBeRejected && isRejected && !ran.has(nameOf(request))) return broken;
      return broken.concat(wrongIn(answers, request, history.kills));
    });
}

const isRejection = (error?: string): boolean => REJECTIONS.has(error ?? "");

function nameOf({ client, id }: { readonly client: string; readonly id: string }): string {
  return `${client} ${id}`;
}

function wrongIn(answers: readonly Answer[], request: Asked, kills: readonly number[]): string[] {
  const { expected, from = 0 } = request;
  const report = (what: string): string[] => [`${nameOf(request)}: ${what}`];
  const [first] = answers;
  if (first === undefined) return report("no final answer");
  const others = answers.filter(({ text, error }) => text !== first.text || error !== first.error);
  if (others.length > 0) return report(`${others.length + 1} different answers`);
  const { when = 0 } = first;
  const cuts = kills.filter((at) => at >= from && at <= when).length;
  if (first.error === "internal" && cuts >= ATTEMPTS) return [];
  if (first.error !== undefined) return report(`answered with the error ${first.error}`);
  return first.text === expected ? [] : report(`the answer is ${JSON.stringify(first.text)}`);
}

interface Hearing {
  /** The complete answers and final rejections. */
  readonly answers: readonly Answer[];
  /** The number of rejections, final or not. */
  readonly rejections: number;
  /** Contradictions. */
  readonly broken: readonly string[];
  /** Whether its client had no subscription at some time between the request and the answer. */
  readonly wasAwayBy: (when?: number) => boolean;
}

/** What was received for one request. */
function hearingOf({ heard, absences = [] }: History): (request: Asked) => Hearing {
  const all = Map.groupBy(
    heard.map((part, at) => ({ ...part, at })),
    nameOf,
  );
  return (request) => {
    const parts = all.get(nameOf(request)) ?? [];
    const { from = 0 } = request;
    const away = absences.filter(({ client, to }) => client === request.client && to >= from);
    const wasAwayBy = (when = 0): boolean => away.some((absence) => absence.from <= when);
    const rejections = parts.filter(({ done, error }) => done && isRejection(error)).length;
    return { ...collected(parts, wasAwayBy), rejections, wasAwayBy };
  };
}

type Placed = Heard & { readonly at: number };

function collected(all: readonly Placed[], wasAwayBy: (when?: number) => boolean) {
  const answers: Answer[] = [];
  const broken: string[] = [];
  let parts: string[] = [];
  let isTorn = false;
  for (const part of all) {
    if (part.seq === 0) [parts, isTorn] = [[], false];
    if (part.seq < parts.length || mayBeFollowed(part)) continue;
    if (part.seq > parts.length && !isTorn) {
      isTorn = wasAwayBy(part.when);
      if (!isTorn) broken.push(`${nameOf(part)}: part ${part.seq} came too early`);
    }
    parts.push(part.text);
    if (part.done && !isTorn) answers.push(answerOf(part, parts.join("")));
  }
  return { answers, broken };
}

function mayBeFollowed({ done, error, isForGood = false }: Heard): boolean {
  return done && isRejection(error) && !isForGood;
}

function answerOf({ at, error, when }: Placed, text: string): Answer {
  return { text, at, ...(error && { error }), ...(when !== undefined && { when }) };
}

/**
 * A rejected request is answered whenever the broker delivers it again, and an answer that a device missed
 * arrives whenever it is retried.
 */
function orderViolations(history: History): string[] {
  const hearing = hearingOf(history);
  const last = new Map<string, number>();
  return history.asked.flatMap((request) => {
    const { answers, rejections, wasAwayBy } = hearing(request);
    const [first] = answers;
    if (first === undefined || rejections > 0 || wasAwayBy(first.when)) return [];
    const before = last.get(request.client) ?? -1;
    last.set(request.client, Math.max(before, first.at));
    return first.at < before ? [`${nameOf(request)}: answered out of order`] : [];
  });
}

/** The model notices a kill a moment later. */
const NOTICED_MS = 1500;

function repeatViolations({ turns, kills, stops = [], freezes = [] }: History): string[] {
  const runs = Map.groupBy(turns, ({ client, id }) => `${client} ${id}`);
  const readBy = (at: number): number =>
    freezes.reduce((end, { from, to }) => (from <= end + NOTICED_MS && to > end ? to : end), at);
  const wasCutBy =
    (ends: readonly number[]) =>
    ({ from, to }: Turn): boolean =>
      ends.some((end) => end >= from && end <= readBy(to) + NOTICED_MS);
  return [...runs].flatMap(([name, all]) => {
    const most = ATTEMPTS + all.filter(wasCutBy(stops)).length;
    if (all.length > most) return [`${name}: run ${all.length} times`];
    return all.slice(0, -1).every(wasCutBy([...kills, ...stops]))
      ? []
      : [`${name}: run again though no kill had cut it`];
  });
}

function overlapViolations({ turns }: History): string[] {
  const clients = Map.groupBy(turns, ({ client }) => client);
  return [...clients].flatMap(([client, all]) => {
    const inOrder = all.toSorted((a, b) => a.from - b.from);
    const overlaps = inOrder.filter(({ from }, index) => from < (inOrder[index - 1]?.to ?? 0));
    return overlaps.map(({ id }) => `${client} ${id}: ran beside another turn of its client`);
  });
}
