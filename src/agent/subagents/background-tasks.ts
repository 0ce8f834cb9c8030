import type { CallContext } from "../tools/contract.ts";

/** A task in the background, as its owner may see it. */
export interface BackgroundTask {
  readonly id: string;
  readonly label: string;
  /** It may still wait for its place where it is said to run. */
  readonly state: "running" | Ended["state"];
  /** Since it was asked for, until now or until it ended. */
  readonly seconds: number;
}

export interface Ended {
  readonly state: "done" | "failed";
  /** The result, or in words why there is none. */
  readonly text: string;
}

export interface FinishedTask {
  readonly id: string;
  readonly label: string;
  readonly text: string;
}

/** The background tasks of all clients; what belongs to one is never told to another. */
export interface TaskList {
  readonly add: (owner: string, label: string) => StartedTask;
  /** How many of a owner have not ended. */
  readonly active: (owner: string) => number;
  /** The same of all clients. */
  readonly activeInAll: () => number;
  /** Oldest first. */
  readonly list: (owner: string) => readonly BackgroundTask[];
  /** The result of one that has ended, which counts as seen then; undefined where there is none. */
  readonly result: (owner: string, id: string) => string | undefined;
  /** Results that were neither given here nor by `result`. */
  readonly takeUnreported: (owner: string) => readonly FinishedTask[];
  /** Whoever was given these could not use them: they are given again. */
  readonly putBack: (tasks: readonly FinishedTask[]) => void;
}

export interface StartedTask {
  readonly id: string;
  readonly end: (end: Ended) => void;
}

/** Runs the tasks of the tools `subagent` and `spawn`. */
export interface TaskRunner {
  /** Runs a task to its end, and ends with its call; what went wrong is an answer too. */
  readonly runNow: (text: string, call: CallContext) => Promise<string>;
  /** Begins a task and returns its id, or in words why it does not begin. */
  readonly begin: (
    text: string,
    label: string,
    call: CallContext,
  ) => string | { readonly id: string };
  readonly tasks: TaskList;
}

interface Entry {
  readonly id: string;
  readonly owner: string;
  readonly label: string;
  readonly beganAt: number;
  ended?: Ended & { readonly at: number };
  isSeen: boolean;
}

/** Finished tasks that are kept: of one owner, of all, and for how many milliseconds. */
const MAX_FINISHED = 20;
const MAX_FINISHED_OF_ALL = 200;
const KEPT_MS = 3_600_000;

/** Kept in memory alone: a task ends with the program. */
export function createTaskList(now: () => Date): TaskList {
  let entries: Entry[] = [];
  let count = 0;

  const of = (owner: string): Entry[] => entries.filter((entry) => entry.owner === owner);
  const forgetOld = (): void => {
    entries = worthKeeping(entries, now().getTime());
  };

  return {
    add(owner, label) {
      count += 1;
      const entry: Entry = {
        id: `task-${count}`,
        owner,
        label,
        beganAt: now().getTime(),
        isSeen: false,
      };
      entries.push(entry);
      const end = (ended: Ended): void => {
        entry.ended = { ...ended, at: now().getTime() };
        forgetOld();
      };
      return { id: entry.id, end };
    },
    active: (owner) => of(owner).filter(isActive).length,
    activeInAll: () => entries.filter(isActive).length,
    list(owner) {
      forgetOld();
      return of(owner).map((entry) => outlineOf(entry, now().getTime()));
    },
    result(owner, id) {
      const entry = of(owner).find((one) => one.id === id);
      if (entry?.ended === undefined) return undefined;
      entry.isSeen = true;
      return entry.ended.text;
    },
    takeUnreported(owner) {
      forgetOld();
      return of(owner).flatMap((entry) => {
        if (entry.ended === undefined || entry.isSeen) return [];
        entry.isSeen = true;
        return [{ id: entry.id, label: entry.label, text: entry.ended.text }];
      });
    },
    putBack: (tasks) => makeUnseen(entries, tasks),
  };
}

function isActive({ ended }: Entry): boolean {
  return ended === undefined;
}

function makeUnseen(entries: readonly Entry[], tasks: readonly FinishedTask[]): void {
  const ids = new Set(tasks.map(({ id }) => id));
  for (const entry of entries) if (ids.has(entry.id)) entry.isSeen = false;
}

function outlineOf({ id, label, beganAt, ended }: Entry, now: number): BackgroundTask {
  const seconds = Math.max(0, (ended?.at ?? now) - beganAt) / 1000;
  return { id, label, state: ended?.state ?? "running", seconds };
}

/** All that run, and the newest of those that ended, in the same order. */
function worthKeeping(entries: readonly Entry[], now: number): Entry[] {
  const perOwner = new Map<string, number>();
  let all = 0;
  const kept = entries.toReversed().filter(({ owner, ended }) => {
    if (ended === undefined) return true;
    const ofOwner = (perOwner.get(owner) ?? 0) + 1;
    perOwner.set(owner, ofOwner);
    all += 1;
    return now - ended.at < KEPT_MS && ofOwner <= MAX_FINISHED && all <= MAX_FINISHED_OF_ALL;
  });
  return kept.toReversed();
}
