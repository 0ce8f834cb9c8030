import { FACT_NAMES } from "../device/facts.ts";
import type { FactName } from "../device/facts.ts";
import { clausesOf, has, segmentsOf } from "./clauses.ts";
import type { Clause } from "./clauses.ts";
import { isForeign } from "./foreign.ts";
import { asksProcesses, TOPICS } from "./topics.ts";

/** What was understood of a text. */
export interface Understood {
  /** The facts that were asked for, in the order of the question. */
  readonly facts: readonly FactName[];
  /** Something else was asked as well, or nothing at all. */
  readonly more: boolean;
}

const STATUS: readonly FactName[] = ["cpu", "memory", "disk", "temperature", "uptime"];
const SPECIFICATIONS: readonly FactName[] = ["system", "processor", "memory", "disk"];

/** Which facts of the device a text asks for; none where it asks for anything else. */
export function understand(text: string): Understood {
  const facts = new Set<FactName>();
  let more = false;
  for (const clause of clausesOf(text)) {
    const asked = isForeign(clause) ? [] : factsOf(clause);
    for (const fact of asked) facts.add(fact);
    if (asked.length === 0 && !isPolite(clause)) more = true;
  }
  return { facts: [...facts], more: more || facts.size === 0 };
}

/** Nothing but pleasantries: `hello`, `thanks a lot`. */
function isPolite({ words }: Clause): boolean {
  return words.every(({ meanings }) => meanings?.has("filler") === true || meanings?.has("well"));
}

function factsOf(clause: Clause): readonly FactName[] {
  if (asksProcesses(clause)) return processFacts(clause);
  if (has(clause, "spec")) return SPECIFICATIONS;
  const facts = segmentsOf(clause).flatMap(partFacts);
  return facts.length > 0 ? facts : generalFacts(clause);
}

function processFacts(clause: Clause): FactName[] {
  const cpu = has(clause, "cpu", "load", "busy");
  const memory = has(clause, "memory", "swap");
  if (cpu !== memory) return [cpu ? "top_cpu" : "top_memory"];
  return cpu || has(clause, "most", "hog", "uses", "usage")
    ? ["top_cpu", "top_memory"]
    : ["top_cpu"];
}

function partFacts(part: Clause): FactName[] {
  return TOPICS.filter(({ isAsked }) => isAsked(part)).map(({ fact }) => fact);
}

/** What is asked for without being named. */
function generalFacts(clause: Clause): readonly FactName[] {
  if (has(clause, "everything")) return everythingFacts(clause);
  if (has(clause, "status") || asksIfWell(clause)) return STATUS;
  return has(clause, "resource") ? ["cpu", "memory", "disk"] : [];
}

function everythingFacts(clause: Clause): readonly FactName[] {
  if (isWell(clause) || /^how\b/.test(clause.text)) return STATUS;
  const isQuestion = /^(is|are|was|do|does|did|what|who|which)\b/.test(clause.text);
  return isQuestion ? [] : FACT_NAMES;
}

const MACHINE = "device|machine|system|box|server|host|computer|node|pi|board|unit|controller";
const WELL_QUESTIONS: readonly RegExp[] = [
  new RegExp(`^how is (the|this|my|our|your) (\\w+ )?(${MACHINE})\\b`),
  new RegExp(`^(${MACHINE}|self) check$|^check (the |this |your |my )?(${MACHINE}|yourself)$`),
];

function asksIfWell(clause: Clause): boolean {
  const isQuestion = /^(is|are|do|does)\b/.test(clause.text);
  if (isQuestion && isWell(clause) && has(clause, "device")) return true;
  return WELL_QUESTIONS.some((question) => question.test(clause.text));
}

function isWell(clause: Clause): boolean {
  return has(clause, "well") || /\bgood\b/.test(clause.text);
}
