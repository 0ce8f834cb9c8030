import { MAX_TIMER_MS } from "../base/async.ts";
const UNITS = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;
const WRITTEN = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/;
const STEP = /(\d+(?:\.\d+)?)(ms|s|m|h)/g;

/** Parses `500ms`, `30s`, `2m`, `1h`, `1m30s` or a plain number of seconds to milliseconds; undefined for other texts. */
export function parseDuration(text: string): number | undefined {
  const written = /^\d+(?:\.\d+)?$/.test(text) ? `${text}s` : text;
  if (!WRITTEN.test(written)) return undefined;
  const steps = [...written.matchAll(STEP)].map(
    ([, amount, unit]) => Number(amount) * perUnit(unit),
  );
  const total = Math.round(steps.reduce((sum, step) => sum + step, 0));
  return total > MAX_TIMER_MS ? undefined : total;
}

function perUnit(unit: string | undefined): number {
  if (unit === "h" || unit === "m" || unit === "s") return UNITS[unit];
  return UNITS.ms;
}

/** Formats milliseconds for people: `20s`, `2m`, `1.5s`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds > 0 && milliseconds < 1000) return `${Math.round(milliseconds)}ms`;
  if (milliseconds >= UNITS.h && milliseconds % UNITS.h === 0) return `${milliseconds / UNITS.h}h`;
  if (milliseconds > UNITS.m * 2 && milliseconds % UNITS.m === 0)
    return `${milliseconds / UNITS.m}m`;
  return `${Math.round(milliseconds / 100) / 10}s`;
}
