import { two } from "./format.ts";
import type { DeviceHistory, Measured } from "./history.ts";
import { MINUTE_MS } from "./history.ts";
import type { SampledFact } from "./history.ts";
import { DAYS } from "./time.ts";

/** A fact and a period, in hours before now. */
export interface Past {
  readonly fact: SampledFact;
  /** The earlier end: more hours back. */
  readonly from: number;
  readonly to: number;
}

const WORDS: Readonly<Record<SampledFact, { readonly name: string; readonly unit: string }>> = {
  cpu: { name: "CPU usage", unit: " %" },
  memory: { name: "Memory usage", unit: " %" },
  temperature: { name: "Temperature", unit: " °C" },
  load: { name: "Load", unit: "" },
  disk: { name: "Disk usage", unit: " %" },
};
const HOUR_MS = 60 * MINUTE_MS;

/** The values of a fact in a period: lowest, highest and mean with local times, then each hour. */
export function pastText({ fact, from, to }: Past, history: DeviceHistory, now: number): string {
  // Rounded to seconds: hours are fractions, and 22:00 must not become 21:59.
  const timeBack = (hours: number): number => Math.round((now - hours * HOUR_MS) / 1000) * 1000;
  const [start, end] = [timeBack(from), timeBack(to)];
  const measured = history.between(fact, start, end);
  const when = `from ${clock(start, now)} to ${clock(end, now)}`;
  const [first] = measured;
  if (first === undefined) {
    return `No samples of the ${WORDS[fact].name.replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase())} ${when}: the program was not running, or the device does not tell.`;
  }
  const lowest = measured.reduce((least, each) => (each.value < least.value ? each : least), first);
  const highest = measured.reduce((most, each) => (each.value > most.value ? each : most), first);
  const show = (value: number): string => valueText(value, fact);
  const at = ({ value, minute }: Measured): string =>
    `${show(value)} at ${clock(minute * MINUTE_MS, now)}`;
  const asked = Math.round((end - start) / MINUTE_MS) + 1;
  const gaps =
    measured.length < asked * 0.9 ? `, ${measured.length} of ${asked} minutes known` : "";
  const whole = `${WORDS[fact].name} ${when}: highest ${at(highest)}, lowest ${at(lowest)}, mean ${show(mean(measured))}${gaps}.`;
  return [whole, ...hourLines(measured, show, now)].join("\n");
}

/** One line an hour, if the period is longer than two hours. */
function hourLines(
  measured: readonly Measured[],
  show: (value: number) => string,
  now: number,
): string[] {
  // By local time: zones can be half an hour off. An hour that occurs twice has two lines.
  const hours = Map.groupBy(measured, ({ minute }) => {
    const time = minute * MINUTE_MS;
    return time - new Date(time).getMinutes() * MINUTE_MS;
  });
  if (hours.size <= 2) return [];
  return [...hours].map(([hour, some]) => {
    const values = some.map(({ value }) => value);
    return `${clock(hour, now)}: ${show(Math.min(...values))} to ${show(Math.max(...values))}, mean ${show(mean(some))}`;
  });
}

function mean(measured: readonly Measured[]): number {
  return measured.reduce((sum, { value }) => sum + value, 0) / measured.length;
}

function valueText(value: number, fact: SampledFact): string {
  return `${value.toFixed(fact === "load" ? 2 : 1)}${WORDS[fact].unit}`;
}

/** The local time, with its day if that is not today. */
function clock(milliseconds: number, now: number): string {
  const date = new Date(milliseconds);
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (date.toDateString() === new Date(now).toDateString()) return time;
  return `${time} on ${DAYS[date.getDay()]}`;
}
