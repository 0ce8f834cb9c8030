import { has } from "./clauses.ts";
import type { Clause } from "./clauses.ts";
import { asksName, asksProcesses, asksTime, asksUptime } from "./topics.ts";
import type { Meaning } from "./vocabulary.ts";

const THING =
  "cpus?|processors?|ram|memory|swap|disks?|drives?|storage|space|kernel|linux|os|networks?|ips?|process(es)?|cores?|hardware";

/** Sentences of our words alone that are yet not for us. */
const OTHER_QUESTIONS: readonly RegExp[] = [
  // What a word means: `what is RAM`, `what is an IP address`.
  new RegExp(`^(so |and )?what (is|are) (an? .*|${THING})$`),
  // How to do something, where we only tell how something is.
  /\bhow (to|(do|can|could|would) (i|we|you))\b/,
  // Orders to do something.
  /^(please |can you |could you |would you |now |just )*(use|load|process|time|date|address|drive|swap|free|empty|heat|cool|name|level|size|rate) (me|it|this|that|us|up|the|an?|my|your|all|some|out|less|more)\b/,
  // Statements, which ask nothing.
  /^(well |ok |so |and )?(i|we|you|it|that|there|this) (am|are|is|was|were|be|have|had|do|did|use|used|see|know|find|get|got|read)\b/,
  /\bthanks? (you )?for\b/,
  // Memories of people, and loads of things.
  /\b(in|from) memory( of\b|$)|\bmemory of (me|us|it|that|all)\b|\byou (have|got) (an? )?(good )?memory$/,
  /\ba (whole )?load of\b/,
  // The air around the device.
  /\b(hot|warm|cold|cool|heat|temperature|temp)\b.*\b(here|today|todays)\b|\bhow (hot|warm) .*\bit( is)?( in| out| over)? there\b/,
  // What we cannot measure.
  /\b(network|wifi|wlan|lan|ethernet|interface) (usage|use|utili[sz]ation|load|level)\b/,
];

/** Words that are at home only in some questions. */
const NEEDS: readonly (readonly [Meaning, (clause: Clause) => boolean])[] = [
  ["long", (clause) => asksUptime(clause)],
  ["past", (clause) => asksUptime(clause)],
  ["span", (clause) => asksUptime(clause)],
  ["boot", (clause) => asksUptime(clause)],
  ["date", (clause) => asksTime(clause) || asksUptime(clause)],
  ["today", (clause) => asksTime(clause)],
  ["name", (clause) => asksName(clause) || has(clause, "system") || asksProcesses(clause)],
  ["average", (clause) => has(clause, "load")],
  [
    "make",
    (clause) => has(clause, "cpu", "core", "system", "device") && !has(clause, "disk", "memory"),
  ],
  ["speed", (clause) => has(clause, "cpu", "core")],
  ["uses", (clause) => !has(clause, "disk", "space", "network")],
  ["hog", (clause) => asksProcesses(clause) || has(clause, "usage")],
  ["busy", (clause) => !has(clause, "network", "disk")],
];

/** Whether a clause is for somebody else: it holds a stranger's word, or is another kind of question. */
export function isForeign(clause: Clause): boolean {
  if (clause.words.some((_, position) => isStranger(clause, position))) return true;
  if (OTHER_QUESTIONS.some((question) => question.test(clause.text))) return true;
  if (has(clause, "process") && asksUptime(clause)) return true;
  return NEEDS.some(([meaning, isAtHome]) => has(clause, meaning) && !isAtHome(clause));
}

function isStranger(clause: Clause, position: number): boolean {
  const { text = "", meanings } = clause.words[position] ?? {};
  if (meanings === undefined) return !/^\d+$/.test(text) || !isCounted(clause, position);
  return meanings.has("comparing") && !isCompared(clause, position);
}

/** `above 80 %`, `higher than`, `under load`. */
function isCompared(clause: Clause, position: number): boolean {
  const [before, word, after] = [-1, 0, 1].map((step) => clause.words[position + step]?.text ?? "");
  if (/^(than|\d+)$/.test(after ?? "") || /^(higher|more|less|lower)$/.test(before ?? ""))
    return true;
  return word === "under" && has(clause, "load");
}

const COUNTED: readonly Meaning[] = ["process", "temperature", "most", "usage", "core"];

/** `above 80 %`, `top 5 processes`; any other number is a stranger. */
function isCounted({ words }: Clause, position: number): boolean {
  const before = words[position - 1]?.meanings;
  const after = words[position + 1]?.meanings;
  if (before?.has("comparing") === true || before?.has("most") === true) return true;
  return COUNTED.some((meaning) => after?.has(meaning) === true);
}
