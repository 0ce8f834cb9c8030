import { uptime } from "node:os";
import type { ReadFact } from "./contract.ts";
import { readTextIfAny } from "./files.ts";
import { countText, listText, two } from "./format.ts";

/** The local time with its zone. */
export const readTime: ReadFact = async ({ now }) => `The time is ${localTime(now())}.`;

/** How long the device has been up. */
export const readUptime: ReadFact = async (device) => {
  const text = await readTextIfAny(device, "proc/uptime", 128);
  const seconds = text === undefined ? uptime() : Number(text.split(" ")[0]);
  if (!Number.isFinite(seconds)) throw new Error("this system does not count its uptime");
  const since = new Date(device.now().getTime() - seconds * 1000);
  return `Uptime is ${durationText(seconds)}, since ${localTime(since)}.`;
};

export const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** `12:03:44 on Wednesday, 2026-07-01 (Europe/Berlin, UTC+02:00)`. */
export function localTime(date: Date): string {
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return `${clock} on ${DAYS[date.getDay()]}, ${calendarDay(date)} (${placeAt(date)})`;
}

/** `2026-07-01 12:03, Wednesday (Europe/Berlin, UTC+02:00)`. */
export function localMinute(date: Date): string {
  const clock = [date.getHours(), date.getMinutes()].map(two).join(":");
  return `${calendarDay(date)} ${clock}, ${DAYS[date.getDay()]} (${placeAt(date)})`;
}

function calendarDay(date: Date): string {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** The zone and its offset at that time. */
function placeAt(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const zone = zoneAt(minutes);
  const offset = `${minutes < 0 ? "-" : "+"}${two(Math.trunc(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
  return zone === "UTC" ? zone : `${zone}, UTC${offset}`;
}

/** A new `Intl.DateTimeFormat` costs 0.2 ms, and every prompt has the time: the zone is looked up once a minute. */
const ZONE_MS = 60_000;
let zone = { name: "", offset: 0, readAt: Number.NEGATIVE_INFINITY };

/** The name of the local time zone, whose offset from UTC is that many minutes. */
function zoneAt(offset: number): string {
  const now = performance.now();
  if (zone.offset !== offset || now - zone.readAt > ZONE_MS) {
    const { timeZone: name } = new Intl.DateTimeFormat("en").resolvedOptions();
    zone = { name, offset, readAt: now };
  }
  return zone.name;
}

/** The two largest units: `3 days and 4 hours`, `12 seconds`. */
export function durationText(seconds: number): string {
  const units: [string, number][] = [
    ["day", 86_400],
    ["hour", 3600],
    ["minute", 60],
    ["second", 1],
  ];
  let left = Math.max(0, Math.floor(seconds));
  const parts: string[] = [];
  for (const [name, length] of units) {
    const count = Math.floor(left / length);
    left -= count * length;
    if (count > 0) parts.push(countText(count, name));
  }
  return listText(parts.slice(0, 2)) || "less than a second";
}
