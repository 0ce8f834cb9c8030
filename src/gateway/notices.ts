import type { Clock } from "./clock.ts";

export interface NoticesOptions {
  readonly clock: Pick<Clock, "now">;
  readonly everyMs: number;
  /** Names at a time. */
  readonly rows: number;
}

/** Who was told something lately, so that nobody is told too often. */
export interface Notices {
  /** How many times the name was passed over since it was last told; undefined passes it over now. */
  due(name: string): number | undefined;
}

interface Row {
  readonly at: number;
  passedOver: number;
}

/** While all rows are taken no further name is told anything: invented names cost neither memory nor messages. */
export function createNotices({ clock, everyMs, rows }: NoticesOptions): Notices {
  /** In the order of their times, so that the front is the first to be old. */
  const told = new Map<string, Row>();
  const isYoung = (row: Row): boolean => clock.now() - row.at < everyMs;

  return {
    due(name) {
      const row = told.get(name);
      if (row !== undefined && isYoung(row)) {
        row.passedOver++;
        return undefined;
      }
      told.delete(name);
      for (const [other, old] of told) {
        if (isYoung(old)) break;
        told.delete(other);
      }
      if (told.size >= rows) return undefined;
      told.set(name, { at: clock.now(), passedOver: 0 });
      return row?.passedOver ?? 0;
    },
  };
}
