import type { FactName } from "../device/facts.ts";
import { has } from "./clauses.ts";
import type { Clause } from "./clauses.ts";

/** Whether a clause asks since when the device runs. */
export function asksUptime({ text }: Clause): boolean {
  return [
    /\buptime\b/,
    /\b(how (long|many (days|hours|minutes|seconds|weeks))|when|since|last|recently)\b.*\b(up|running|online|alive|awake|been on|(re)?boot\w*|(re)?start\w*)\b/,
    /\b(re)?(boot|start|startup) (time|date|day)\b/,
    /^(have|has|did|was|were) (you|the|this|it)\b.*\b(re)?(boot|start)(ed)?\b/,
  ].some((question) => question.test(text));
}

/** Whether a clause asks for the clock or the calendar, and not for time as such. */
export function asksTime({ text }: Clause): boolean {
  return [
    /^(time|date|clock|timezone|day|weekday)( now| please| today)?$/,
    /\b(what|which) (time|date|day|weekday|month|year|timezone)\b(?! (did|does|will|would|should|were|are you(?! in))\b)/,
    /\b(current|local|system|exact|actual|present|device|host) (time|date|clock|timezone|day|weekday|month|year)\b/,
    // `How was your day` is small talk, and `your time is up` no question.
    /\byour (time|date|clock|timezone)\b(?! (is )?(up|off|free)\b)/,
    /\b(the|todays) (time|date|clock|timezone|weekday|day of)\b(?! (of(?! day)|to|left|for|remaining|i|we|you)\b)/,
    /\btime (is it|it is|now)\b/,
    /\btodays? (time|date|day)\b|\b(date|day) (and|or) (the )?time\b|\btime (and|or) (the )?(date|day)\b/,
  ].some((question) => question.test(text));
}

/** Whether a clause asks what the machine (not the agent) is called. */
export function asksName(clause: Clause): boolean {
  if (has(clause, "hostname") || /\b(what|which) host\b/.test(clause.text)) return true;
  const machine =
    /\b(device|machine|box|host|server|computer|system|node|pi|unit|controller)\b/.test(
      clause.text,
    );
  return has(clause, "name") && machine && !/\b(you|your)\b/.test(clause.text);
}

/** Whether a clause asks for what runs on the device, or for what wears it out. */
export function asksProcesses(clause: Clause): boolean {
  if (has(clause, "disk", "space", "network")) return false;
  if (has(clause, "process")) {
    const isListed = /^(the )?(processes|process list)$|\bhow many\b|\b(list|show)\b/.test(
      clause.text,
    );
    const runs =
      /\b(what|which)\b.*\brunning\b|\brunning (process|program|app|task|service|daemon)/.test(
        clause.text,
      );
    return isListed || runs || has(clause, "most", "hog", "uses", "usage", "cpu", "memory");
  }
  const uses =
    /\b(what|who|which one)( is| are)?( currently| now| actually)? (using|uses|taking|takes|occupying)\b/;
  const asksWho = /\b(what|who|which)\b/.test(clause.text) && has(clause, "hog");
  const worn = has(clause, "cpu", "memory", "swap", "resource");
  const runs =
    /^(tell me |show me )?what is( currently)? running( now| there| right now| here)?( on .*)?$/;
  return (
    runs.test(clause.text) || (worn && (asksWho || uses.test(clause.text) || isHogList(clause)))
  );
}

/** Questions without a verb: `memory hogs`, `top cpu`. */
function isHogList({ text }: Clause): boolean {
  return /\b(hogs?|consumers?)\b|^(show |list |the )*top (cpu|memory|ram)$/.test(text);
}

interface Topic {
  readonly fact: FactName;
  /** Whether one part of a question asks for it. */
  readonly isAsked: (part: Clause) => boolean;
}

/** What a part of a question can ask for, beside processes; several at a time where it is a mere list of words. */
export const TOPICS: readonly Topic[] = [
  { fact: "uptime", isAsked: asksUptime },
  { fact: "temperature", isAsked: asksTemperature },
  { fact: "hostname", isAsked: asksName },
  { fact: "network", isAsked: (part) => has(part, "network", "address") },
  { fact: "processor", isAsked: asksProcessor },
  { fact: "cpu", isAsked: asksCpu },
  { fact: "load", isAsked: (part) => has(part, "load") && !asksCpu(part) && !asksProcessor(part) },
  { fact: "memory", isAsked: (part) => has(part, "memory", "swap") && isMeasured(part) },
  { fact: "disk", isAsked: asksDisk },
  { fact: "system", isAsked: asksSystem },
  { fact: "time", isAsked: (part) => asksTime(part) && !asksUptime(part) },
];

/** A part that names a temperature means the temperature of what else it names, but for `CPU usage`. */
function isMeasured(part: Clause): boolean {
  return !asksTemperature(part) || has(part, "usage", "load");
}

function asksTemperature(part: Clause): boolean {
  if (has(part, "temperature")) return true;
  const isCool = has(part, "cool") && has(part, "cpu");
  if (!has(part, "hot")) return isCool;
  return /\bhow\b|^(is|are|do|does)\b|\b(cpu|running|too|get|getting|overheat\w*)\b/.test(
    part.text,
  );
}

function asksProcessor(part: Clause): boolean {
  if (asksTemperature(part) || has(part, "usage", "busy", "load")) return false;
  if (has(part, "core")) return true;
  if (!has(part, "cpu")) return false;
  const which =
    /^(do you know |tell me |show me )?(what|which) (kind of |type of )?(cpu|processor|chip|soc)s?( (is|are|do|does|have|has|you)\b.*)?$/;
  return (
    has(part, "make", "speed", "system") || /\bhow many\b/.test(part.text) || which.test(part.text)
  );
}

function asksCpu(part: Clause): boolean {
  if (asksProcessor(part) || !isMeasured(part)) return false;
  return has(part, "cpu", "busy") || /\bunder( \w+)? load\b/.test(part.text);
}

function asksDisk(part: Clause): boolean {
  if (!isMeasured(part)) return false;
  if (has(part, "disk")) return true;
  const amount = /\b(free|left|available|remaining|enough|much|used|usage|full|low|total|any)\b/;
  return has(part, "space") && !has(part, "memory", "swap") && amount.test(part.text);
}

function asksSystem(part: Clause): boolean {
  if (has(part, "cpu", "core", "memory", "disk", "load", "temperature", "network")) return false;
  if (asksUptime(part) || asksTime(part) || has(part, "status")) return false;
  const which =
    /\b(what|which)( kind of| type of)? (system|device|machine|computer|box|server) (is|are|am|do|does)\b/;
  const runsOn = /\bwhat (are|is) .*\brunning on\b/;
  return has(part, "system", "spec") || which.test(part.text) || runsOn.test(part.text);
}
