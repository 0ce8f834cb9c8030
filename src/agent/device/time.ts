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

/** `12:03:44 on Wednesday, 2026-07-01 (Europe/Berlin, UTC+02:00)`. */
export function localTime(date: Date): string {
  const zone = new Intl.DateTimeFormat("en").resolvedOptions().timeZone;
  const day = new Intl.DateTimeFormat("en", { weekday: "long" }).format(date);
  const minutes = -date.getTimezoneOffset();
  const offset = `${minutes < 0 ? "-" : "+"}${two(Math.trunc(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  const calendar = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const place = zone === "UTC" ? zone : `${zone}, UTC${offset}`;
  return `${clock} on ${day}, ${calendar} (${place})`;
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
