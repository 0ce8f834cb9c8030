import type { Past } from "../device/past.ts";
import type { SampledFact } from "../device/sample.ts";
import { meaningsOf } from "./vocabulary.ts";
import type { Meaning } from "./vocabulary.ts";

/** A longer text is no question about a device. */
const MAX_WORDS = 20;
const HOUR_MS = 3_600_000;
const MOST_HOURS = 48;

const FACTS: readonly (readonly [SampledFact, RegExp])[] = [
  ["temperature", /\b(hot|warm|cold|cool|temp\w*|heat|heiss\w*|warm\w*|kalt\w*)\b/],
  ["memory", /\b(memory|ram|speicher|arbeitsspeicher)\b/],
  ["disk", /\b(disk|storage|festplatte|platte|speicherplatz)\b/],
  ["load", /\bload( average)?\b(?! on the (cpu|processor))/],
  ["cpu", /\b(cpu|processor|prozessor|busy|auslastung|ausgelastet)\b/],
];

/** Words that ask how something was, not how it is. */
const WAS =
  /\b(was|were|did|been|max\w*|min\w*|highest|lowest|peak|average|mean|history|hottest|warmest|coldest|war|wurde|höchst\w*|niedrigst\w*|durchschnitt\w*|verlauf)\b/;

/** Words beside those of questions about the present; any other one makes the question somebody else's. */
const KNOWN_WORDS = new Set(
  [
    "hour hr hrs h minute min mins max maximum minimum mean lowest hottest warmest coldest coolest",
    "warmer colder cooler peak peaks history yesterday night tonight overnight midnight noon far during",
    "between past went go one two three four six twelve",
    "wie war waren wurde wurden hat hatte gewesen es was ist in im am um von bei seit über während der die",
    "das den dem des ein eine und so sehr viel bitte hallo danke zeig zeige sag mir dir du gerät geräts",
    "gerätes rechner rechners prozessor prozessors auslastung ausgelastet belegt voll speicher arbeitsspeicher",
    "speicherplatz festplatte platte temperatur temperaturen verlauf durchschnitt hoch niedrig tief kühl",
    "letzte letzten letzter vergangene vergangenen vergangener nacht nachts gestern heute morgen früh mitternacht",
    "stunde stunden tag tage tagen minuten zwei drei vier sechs zwölf",
  ].flatMap((line) => line.split(" ")),
);
const KNOWN_FORMS =
  /^(\d{1,4}h?|temp\w*|höchst\w*|niedrigst\w*|durchschnittlich\w*|maximal\w*|minimal\w*|mittler\w*|heiss\w*|warm\w*|wärm\w*|kalt\w*|kält\w*)$/;
/** What the samples say nothing about. */
const NOT_SAMPLED: readonly Meaning[] = [
  "network",
  "address",
  "hostname",
  "name",
  "process",
  "hog",
  "uses",
  "boot",
  "uptime",
  "speed",
  "make",
  "swap",
  "spec",
];
/** Known words that ask for something else: who did it, people, the air around. */
const FOREIGN =
  /\b(what|who|which)( \w+)? (used|consumed)\b|\b(was|were|did|had) (i|we)\b|\bin there\b/;

/**
 * The stretch of the device's past that a text asks for: `was it hot last night?`, `highest CPU usage
 * in the last 3 hours`, in English or German; undefined where it asks for anything else. A night is
 * 22 to 6 o'clock, local time.
 */
export function understandPast(text: string, now: Date): Past | undefined {
  const words = text
    .toLowerCase()
    .normalize("NFC")
    .replaceAll("ß", "ss")
    .replaceAll(/\s+/g, " ")
    .trim();
  if (words.split(" ").length > MAX_WORDS || isForeign(words)) return undefined;
  const fact = FACTS.find(([, pattern]) => pattern.test(words))?.[0];
  if (fact === undefined || !WAS.test(words)) return undefined;
  const span = spanOf(words, now);
  if (span === undefined) return undefined;
  const [from, to] = span.map((hours) => Math.min(MOST_HOURS, Math.max(0, hours)));
  return from === undefined || to === undefined || from <= to ? undefined : { fact, from, to };
}

function isForeign(words: string): boolean {
  const each = words.replaceAll(/['’]s\b/g, "").match(/[\p{L}\p{N}]+/gu) ?? [];
  return FOREIGN.test(words) || each.some((word) => !isKnown(word));
}

function isKnown(word: string): boolean {
  if (KNOWN_WORDS.has(word) || KNOWN_FORMS.test(word)) return true;
  const meanings = meaningsOf(word);
  return meanings !== undefined && !NOT_SAMPLED.some((meaning) => meanings.has(meaning));
}

/** Hours back from now, the earlier end first. */
function spanOf(words: string, now: Date): readonly [number, number] | undefined {
  return countedSpan(words) ?? namedSpan(words, now);
}

const COUNTED =
  /\b(?:last|past|letzten|vergangenen) (?:(\d{1,4}|one|two|three|four|six|twelve|zwei|drei|vier|sechs|zwölf) ?)?(minutes?|mins?|hours?|hrs?|h|days?|minuten?|stunden?|tagen?)\b/;
const NUMBERS: Readonly<Record<string, number>> = {
  one: 1,
  two: 2,
  zwei: 2,
  three: 3,
  drei: 3,
  four: 4,
  vier: 4,
  six: 6,
  sechs: 6,
  twelve: 12,
  zwölf: 12,
};

function countedSpan(words: string): readonly [number, number] | undefined {
  const [found, count = "1", unit = ""] = COUNTED.exec(words) ?? [];
  if (found === undefined) return undefined;
  const number = NUMBERS[count] ?? Number(count);
  if (unit.startsWith("m")) return [number / 60, 0];
  return [/^(d|t)/.test(unit) ? number * 24 : number, 0];
}

function namedSpan(words: string, now: Date): readonly [number, number] | undefined {
  const hoursSince = (dayOffset: number, hour: number): number => {
    const time = new Date(now);
    time.setDate(time.getDate() + dayOffset);
    time.setHours(hour, 0, 0, 0);
    return (now.getTime() - time.getTime()) / HOUR_MS;
  };
  if (
    /\b(last night|tonight|overnight|over night|during the night|in the night|letzte nacht|heute nacht|in der nacht|nachts)\b/.test(
      words,
    )
  ) {
    // Late in the evening the night that began is meant no more than the one before.
    return [hoursSince(-1, 22), hoursSince(0, 6)];
  }
  if (/\b(this morning|heute morgen|heute früh)\b/.test(words)) {
    return [hoursSince(0, 6), hoursSince(0, 12)];
  }
  if (/\b(yesterday|gestern)\b/.test(words)) return [hoursSince(-1, 0), hoursSince(0, 0)];
  if (/\b(today|since midnight|so far|heute|seit mitternacht)\b/.test(words)) {
    return [hoursSince(0, 0), 0];
  }
  return undefined;
}
