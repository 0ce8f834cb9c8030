/** A background task, as its owner sees it. */
export interface BackgroundTask {
  readonly id: string;
  readonly label: string;
  /** A running task may still wait for a slot. */
  readonly state: "running" | Ended["state"];
  /** From its start until now, or until its end. */
  readonly seconds: number;
}

export interface Ended {
  readonly state: "done" | "failed";
  /** The result, or the reason why there is none. */
  readonly text: string;
}

export interface FinishedTask {
  readonly id: string;
  readonly label: string;
  readonly text: string;
}

export type TaskList = ReturnType<typeof createTaskList>;

interface Entry {
  readonly id: string;
  readonly owner: string;
  readonly label: string;
  readonly beganAt: number;
  ended?: Ended & { readonly at: number };
  isSeen: boolean;
}

/** Ended tasks to remember: of one owner, of all, and for how many milliseconds. */
const MAX_FINISHED = 20;
const MAX_FINISHED_OF_ALL = 200;
const KEPT_MS = 3_600_000;

/** The background tasks of all clients; a client sees only its own. In memory only: a task ends with the program. */
export function createTaskList(now: () => Date) {
  let entries: Entry[] = [];
  let count = 0;

  const of = (owner: string): Entry[] => entries.filter((entry) => entry.owner === owner);
  const forgetOld = (): void => {
    entries = worthKeeping(entries, now().getTime());
  };

  return {
    /** Adds a running task; the caller ends it. */
    add(owner: string, label: string) {
      count += 1;
      const id = `task-${count}`;
      const entry: Entry = { id, owner, label, beganAt: now().getTime(), isSeen: false };
      entries.push(entry);
      const end = (ended: Ended): void => {
        entry.ended = { ...ended, at: now().getTime() };
        forgetOld();
      };
      return { id, end };
    },
    /** How many of an owner's tasks have not ended. */
    active: (owner: string) => of(owner).filter(isActive).length,
    /** The same for all clients. */
    activeInAll: () => entries.filter(isActive).length,
    /** An owner's tasks, oldest first: the running ones, and those that ended within the last hour. */
    list: (owner: string): readonly BackgroundTask[] => {
      forgetOld();
      return of(owner).map((entry) => outlineOf(entry, now().getTime()));
    },
    /** The result of an ended task, which counts as reported then; undefined if there is none. */
    result(owner: string, id: string): string | undefined {
      const entry = of(owner).find((one) => one.id === id);
      if (entry?.ended === undefined) return undefined;
      entry.isSeen = true;
      return entry.ended.text;
    },
    /** Takes the results that were not reported yet, here or by `result`; each is taken once. */
    takeUnreported: (owner: string): readonly FinishedTask[] => {
      forgetOld();
      return of(owner).flatMap((entry) => {
        if (entry.ended === undefined || entry.isSeen) return [];
        entry.isSeen = true;
        return [{ id: entry.id, label: entry.label, text: entry.ended.text }];
      });
    },
    /** Marks results as not reported, because the turn that took them failed. */
    putBack: (tasks: readonly FinishedTask[]): void => {
      const ids = new Set(tasks.map(({ id }) => id));
      for (const entry of entries) if (ids.has(entry.id)) entry.isSeen = false;
    },
  };
}

function isActive({ ended }: Entry): boolean {
  return ended === undefined;
}

function outlineOf({ id, label, beganAt, ended }: Entry, now: number): BackgroundTask {
  const seconds = Math.max(0, (ended?.at ?? now) - beganAt) / 1000;
  return { id, label, state: ended?.state ?? "running", seconds };
}

/** All running tasks and the newest of the ended ones, in the same order. */
function worthKeeping(entries: readonly Entry[], now: number): Entry[] {
  const perOwner = new Map<string, number>();
  let all = 0;
  const remembered = entries.toReversed().filter(({ owner, ended }) => {
    if (ended === undefined) return true;
    const ofOwner = (perOwner.get(owner) ?? 0) + 1;
    perOwner.set(owner, ofOwner);
    all += 1;
    return now - ended.at < KEPT_MS && ofOwner <= MAX_FINISHED && all <= MAX_FINISHED_OF_ALL;
  });
  return remembered.toReversed();
}
