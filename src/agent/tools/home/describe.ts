import type { HomeReading, HomeSetting } from "../../../base/contract.ts";
import { escapeControl } from "../../../base/escape-control.ts";
import { truncate } from "../../../base/truncate.ts";
import type { HomeEntity } from "./contract.ts";

const MAX_NAME = 100;
const MAX_VALUE = 120;
/** Words of one setting that are listed. */
const MAX_WORDS = 24;

/** A text of a device, short and on one line. */
export function shown(text: string, most = MAX_NAME): string {
  return escapeControl(truncate(text, most));
}

/** What an entity is now: `on, brightness 50 %, 12 s ago`. */
export function stateText(entity: HomeEntity, now = Date.now()): string {
  const readings = entity.readings();
  const known = readings.filter(({ value }) => value !== undefined);
  const isOffline = entity.isOnline() === false;
  const states = known.map(readingText);
  const newest = known.toSorted((one, other) => other.heardAt - one.heardAt)[0];
  return [
    ...(isOffline ? ["offline"] : []),
    ...(states.length > 0 || isOffline ? states : [unknownText(readings)]),
    ...(newest === undefined ? [] : [ageText(newest, now)]),
  ].join(", ");
}

function unknownText(readings: readonly HomeReading[]): string {
  if (readings.length === 0) return "its state is not reported";
  const isHeard = readings.some(({ heardAt }) => heardAt > 0);
  return isHeard ? "its state is in a form that is not read" : "its state was not reported yet";
}

function readingText({ name, value, unit }: HomeReading): string {
  const text = `${shown(String(value), MAX_VALUE)}${unit === "" ? "" : ` ${shown(unit, 16)}`}`;
  return name === "state" || name === "value" ? text : `${name.replaceAll("_", " ")} ${text}`;
}

/** A retained message does not say when it was published. */
function ageText({ heardAt, isRetained }: HomeReading, now: number): string {
  if (isRetained) return "as the broker had stored it";
  const seconds = Math.max(0, Math.round((now - heardAt) / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min ago` : `${Math.round(minutes / 60)} h ago`;
}

/** `state on|off; brightness 0 to 100 %`. */
export function settingsText(settings: readonly HomeSetting[]): string {
  return settings.map(settingText).join("; ");
}

function settingText({ name, words, range }: HomeSetting): string {
  if (range !== undefined)
    return `${name} ${range.min} to ${range.max} ${shown(range.unit, 16)}`.trim();
  if (words.length === 0) return `${name} #rrggbb`;
  const some = words.slice(0, MAX_WORDS).map((word) => shown(word, 40));
  return `${name} ${some.join("|")}${words.length > MAX_WORDS ? "|…" : ""}`;
}

/** `kitchen lamp (light in Kitchen)`. */
export function titleText({ name, kind, room }: HomeEntity): string {
  const place = room === "" ? "" : ` in ${shown(room)}`;
  return `${shown(name)} (${kind}${place})`;
}
