/** What happened in one run of the fault harness; times are milliseconds on one clock. */
export interface History {
  readonly asked: readonly Asked[];
  /** In the order in which they came. */
  readonly heard: readonly Heard[];
  readonly turns: readonly Turn[];
  /** When the gateway was killed or killed itself. */
  readonly kills: readonly number[];
  /** When it was told to stop: what that breaks off runs again, and does not count as an attempt. */
  readonly stops?: readonly number[];
  /** While it was frozen: what the model had sent was not read yet. */
  readonly freezes?: readonly { readonly from: number; readonly to: number }[];
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

/** Every promise that the history breaks, in words; none is what every run has to end with. */
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
  /** Where in `heard` its last part stands. */
  readonly at: number;
}

/** What cuts a turn as often makes the gateway give it up, with the error `internal`. */
const ATTEMPTS = 3;
/** Told instead of an answer, which may still come. */
const NOT_YET = new Set(["busy", "rate_limited"]);

function answerViolations({ asked, heard, kills }: History): string[] {
  return asked
    .filter(({ isAcknowledged }) => isAcknowledged)
    .flatMap((request) => {
      const { answers, broken } = answersTo(request, heard);
      return broken
        .concat(wrongIn(answers, request, kills))
        .map((what) => `${nameOf(request)}: ${what}`);
    });
}

function nameOf({ client, id }: Asked): string {
  return `${client} ${id}`;
}

function wrongIn(
  answers: readonly Answer[],
  { expected, from = 0 }: Asked,
  kills: readonly number[],
): string[] {
  const [first] = answers;
  if (first === undefined) return ["no final answer"];
  const others = answers.filter(({ text, error }) => text !== first.text || error !== first.error);
  if (others.length > 0) return [`${others.length + 1} different answers`];
  const { when = 0 } = first;
  const cuts = kills.filter((at) => at >= from && at <= when).length;
  if (first.error === "internal" && cuts >= ATTEMPTS) return [];
  if (first.error !== undefined) return [`answered with the error ${first.error}`];
  return first.text === expected ? [] : [`the answer is ${JSON.stringify(first.text)}`];
}

/** The complete answers to one request, and what does not fit together. */
function answersTo({ client, id }: Asked, heard: readonly Heard[]) {
  const answers: Answer[] = [];
  const broken: string[] = [];
  let parts: string[] = [];
  for (const [at, part] of heard.entries()) {
    if (part.client !== client || part.id !== id) continue;
    if (part.seq === 0) parts = [];
    if (part.seq < parts.length) continue;
    if (part.seq > parts.length) broken.push(`part ${part.seq} came too early`);
    parts.push(part.text);
    const isFinal = part.done && !NOT_YET.has(part.error ?? "");
    if (isFinal)
      answers.push({
        text: parts.join(""),
        at,
        ...(part.error && { error: part.error }),
        ...(part.when !== undefined && { when: part.when }),
      });
  }
  return { answers, broken };
}

function orderViolations({ asked, heard }: History): string[] {
  const last = new Map<string, number>();
  return asked.flatMap((request) => {
    const [first] = answersTo(request, heard).answers;
    if (first === undefined) return [];
    const before = last.get(request.client) ?? -1;
    last.set(request.client, Math.max(before, first.at));
    return first.at < before ? [`${request.client} ${request.id}: answered out of order`] : [];
  });
}

/** A kill is seen by the model a moment after it happened. */
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
