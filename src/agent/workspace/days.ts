import { two } from "../device/format.ts";

/** Where the notes of a day (`2026-07-01`) stand in a workspace. */
export function dayFile(date: string): string {
  const digits = date.replaceAll("-", "");
  return `memory/${digits.slice(0, 6)}/${digits}.md`;
}

/** Whether a folder of `memory` holds notes of days: its name is a month, `202607`. */
export function isMonth(folder: string): boolean {
  return /^\d{6}$/.test(folder);
}

/** The day of a file in the folder of a month; undefined for any other file. */
export function dayOf(month: string, file: string): string | undefined {
  if (!/^\d{8}\.md$/.test(file) || !file.startsWith(month)) return undefined;
  return `${file.slice(0, 4)}-${file.slice(4, 6)}-${file.slice(6, 8)}`;
}

/** The local day. */
export function localDay(date: Date): string {
  return [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
}

/** The local time, `09:05`. */
export function localClock(date: Date): string {
  return [date.getHours(), date.getMinutes()].map(two).join(":");
}
