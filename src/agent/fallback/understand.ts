import { FACT_NAMES } from "../device/facts.ts";
import type { FactName } from "../device/facts.ts";
import type { SampledFact } from "../device/history.ts";
import type { Past } from "../device/past.ts";

/** What the rules found in a text. */
export interface Understood {
  /** The facts that the text asks for, in its order. */
  readonly facts: readonly FactName[];
  /** The text asks for something else as well, or for nothing that the rules know. */
  readonly more: boolean;
}

/** A longer text is no question about a device. */
const MAX_CHARACTERS = 500;

const STATUS = "cpu memory disk temperature uptime";
const MACHINE =
  "(?:device|machine|computer|server|box|host|board|(?:raspberry )?pi|system|gateway)";
const AMOUNT =
  "(?: (?:usage|use|used|status|stats|info|load|utili[sz]ation|consumption|percent|space|capacity|free|left))*";
const PROCESSES = "(?:process(?:es)?|programs?|apps?|services?)";
const USES = "(?: (?:is|are|the|all|most|top|up|by|uses?|using|eats|eating|hogging|taking))*";

/**
 * Phrases that ask for facts, by the facts. The rules apply in this order, and each takes its words out of the
 * text: `cpu temperature` asks for no CPU usage.
 */
const RULES: Readonly<Record<string, string>> = {
  [FACT_NAMES.join(" ")]: "(?:tell|show|give) me (?:everything|all)(?: about you)?$|^everything$",
  "cpu memory disk": "resource usage",
  "system processor memory disk": "specs|hardware specifications",
  "top_cpu top_memory": `top ${PROCESSES}(?! by)|which ${PROCESSES}${USES} (?:cpu and memory|memory and cpu)`,
  top_memory: `(?:which|what|top)(?: \\d+)?(?: ${PROCESSES})?${USES} (?:memory|ram)(?! )`,
  top_cpu: `(?:which|what)(?: ${PROCESSES})? (?:is |are )?(?:uses?|using|eats|eating|hogging)${USES} (?:cpu|processor)|top ${PROCESSES} by cpu|^top cpu$|^what is running$|(?:list|running|how many) ${PROCESSES}(?: are)?(?: running)?|^process(?:es| list)$`,
  uptime: `(?:up|boot) ?time|(?:how long|how many (?:days|hours)|since when)(?: (?:has|have|are|is|the|this|it|you|your|been|${MACHINE}))* (?:up|running|online|on)|(?:when|how long|time since|last)(?: (?:did|was|were|is|the|this|you|it|since|last|${MACHINE}))* (?:re)?(?:boot|start)(?:ed)?`,
  time: "(?:what|which|current|local|system|the|todays?) (?:time|date|timezone|weekday)(?: is it)?(?: today)?(?! of(?! day))|what (?:day|month|year)(?: of the week)? is it(?: today)?|date and time|^(?:time|date|clock)$",
  hostname: `host ?name|(?:name|hostname) of (?:the|this) ${MACHINE}|what is (?:the|this) ${MACHINE} called`,
  temperature:
    "(?:(?:cpu|processor|core|soc|board) )?(?:temperatures?|temps?)(?: (?:of|is) (?:the|your) (?:cpu|processor))?|how (?:hot|warm)(?: (?:is|does|the|your|cpu|processor))*|(?:cpu )?(?:too|running) hot|(?:it|cpu|device) hot|overheating|how many degrees",
  network: `(?:ip|network|ipv4|ipv6)(?: (?:add?ress(?:es)?|interfaces?|info|of (?:wlan|eth)0))*(?! (?:usage|use|load|speed))|wlan|wifi|ethernet|your address`,
  processor:
    "how many (?:cpus|cores|processors)|cores|(?:cpu|processor) model|(?:which|what)(?: kind of)? (?:cpu|processor)(?= (?:is|do|are))",
  cpu: `(?:cpu|processor)${AMOUNT}|busy|idle|under(?: heavy)? load|overloaded|how loaded`,
  load: "(?:(?:system|current|the) )?load (?:average|avg)|loadaverage|(?:system|current|the) load|load$|^load(?= and)",
  memory: `out of memory|low on memory|(?:free |available |total )?(?<!(?:a|in) )(?:memory|ram|mem|swap)${AMOUNT}`,
  disk: `(?:free |available )?(?:disks?|diskspace|storage|hard (?:drive|disk)|drives?|sd card|file ?system)${AMOUNT}|(?:(?:free|any) space|space (?:is )?left)(?: is)?(?: on the (?:hard disk|disk|drive))?|out of (?:disk )?space`,
  system: `operating system|(?:os|kernel|linux|distro)(?: version)?|(?:what|which) (?:hardware|system|board|device|machine) (?:is|are) (?:this|you)|hardware`,
  [STATUS]: `(?:system |device |health )?status(?: report)?|health(?: check)?|healthy|overview|^stats$|^system info(?:rmation)?$|how is (?:the|this|your) ${MACHINE}(?: doing)?|(?:is|are) (?:everything|you|the ${MACHINE}|this ${MACHINE}) (?:ok|okay|fine|well)`,
};
const PATTERNS = Object.entries(RULES).map(([facts, phrases]) => ({
  facts: facts.split(" ").filter(isFactName),
  pattern: new RegExp(`\\b(?:${phrases})\\b`, "g"),
}));

function isFactName(word: string): word is FactName {
  return FACT_NAMES.some((name) => name === word);
}

const wordSet = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/));

const POLITE = wordSet("hi hello hey good morning evening please pls thanks thank you a lot ok");
/** Words that change nothing in a question about the device. Any other word makes it another question. */
const FILLER = wordSet(
  `a an the this that it its is are am be being do does has have you your we me my of on in at by and or also
   plus now right currently current moment please pls thanks thank hi hello hey what which how much many big
   full enough there any can could would tell show give see check know doing about percentage celsius gigabytes amount local list running low used using use free left
   available total percent gb mb working report quick size device machine
   computer server box host board raspberry pi system gateway`,
);
/** Questions about words and ways, which hold no other word than questions about the device. */
const NOT_ASKED =
  /\bhow (?:to|(?:do|can|could) (?:i|we|you))\b|^what (?:is|are) (?:an? .*|(?!running$)\w+)$/;

/** The facts of the device that a text asks for; none if it asks for anything else. */
export function understand(text: string): Understood {
  const facts = new Set<FactName>();
  let more = text.length > MAX_CHARACTERS;
  for (const clause of more ? [] : clausesOf(text)) {
    const found = factsIn(clause);
    for (const fact of found) facts.add(fact);
    if (found.length === 0 && !areAllIn(clause, POLITE)) more = true;
  }
  return { facts: [...facts], more: more || facts.size === 0 };
}

/** Sentences, and questions that `and` or a comma joins, in lower case and without punctuation. */
function clausesOf(text: string): string[] {
  return text
    .toLowerCase()
    .replaceAll(/\b(what|how|who|where|when)['’]?s\b/g, "$1 is")
    .replaceAll(/['’]s?/g, "")
    .replaceAll("%", " percent ")
    .replaceAll("&", " and ")
    .split(
      /[?!;\n]+|\.(?=\s|$)|(?:,|\b(?:and|or|but))\s+(?=(?:what|how|who|when|where|is|are|do)\b)/,
    )
    .map((clause) => clause.replaceAll(/[^\p{L}\p{N}]+/gu, " ").trim())
    .filter((clause) => clause !== "");
}

function factsIn(clause: string): readonly FactName[] {
  if (NOT_ASKED.test(clause)) return [];
  const found: { at: number; facts: readonly FactName[] }[] = [];
  let rest = clause;
  for (const { facts, pattern } of PATTERNS) {
    rest = rest.replaceAll(pattern, (phrase: string, at: number) => {
      found.push({ at, facts });
      return " ".repeat(phrase.length);
    });
  }
  if (!areAllIn(rest, FILLER)) return [];
  return found.toSorted((left, right) => left.at - right.at).flatMap(({ facts }) => facts);
}

function areAllIn(text: string, words: ReadonlySet<string>): boolean {
  return text.split(" ").every((word) => word === "" || words.has(word));
}

const PAST_FACTS: readonly (readonly [SampledFact, RegExp])[] = [
  ["temperature", /\b(?:hot|warm|cold|(?:cpu )?temperature|temp)\b/],
  ["memory", /\b(?:memory|ram)\b/],
  ["disk", /\b(?:disk|storage)\b/],
  ["load", /\bload(?: average)?\b/],
  ["cpu", /\b(?:cpu|processor|busy)\b/],
];
/** Words that ask how something was, not how it is. */
const WAS =
  /\b(?:was|were|did|been|max|maximum|min|minimum|highest|lowest|peak|average|mean|history|hottest|warmest|coldest)\b/g;
const PAST_FILLER = new Set([...FILLER, "usage", "high", "low", "during", "over", "for", "so"]);
const COUNTED = /\b(?:last|past) (?:(\d{1,4}) ?)?(min(?:ute)?s?|h|hours?|days?)\b/;

/**
 * The part of the device's past that an English text asks for: `was it hot last night?`, `highest CPU
 * usage in the last 3 hours`. A night is 22 to 6 o'clock, local time; 48 hours is the most.
 */
export function understandPast(text: string, now: Date): Past | undefined {
  const [clause, another] = text.length > MAX_CHARACTERS ? [] : clausesOf(text);
  if (clause === undefined || another !== undefined || clause.search(WAS) === -1) return undefined;
  const span = countedSpan(clause) ?? namedSpan(clause, now);
  const fact = PAST_FACTS.find(([, pattern]) => pattern.test(clause));
  if (span === undefined || fact === undefined) return undefined;
  const rest = [span.phrase, fact[1], WAS].reduce<string>(
    (left, pattern) => left.replace(pattern, " "),
    clause,
  );
  if (!areAllIn(rest, PAST_FILLER)) return undefined;
  const [from, to] = [withinTwoDays(span.from), withinTwoDays(span.to)];
  return from > to ? { fact: fact[0], from, to } : undefined;
}

function withinTwoDays(hours: number): number {
  return Math.min(48, Math.max(0, hours));
}

interface Span {
  readonly phrase: RegExp;
  /** Hours before now, the earlier end first. */
  readonly from: number;
  readonly to: number;
}

function countedSpan(clause: string): Span | undefined {
  const [, count = "1", unit = ""] = COUNTED.exec(clause) ?? [];
  if (unit === "") return undefined;
  const hours = unit.startsWith("m") ? 1 / 60 : unit.startsWith("d") ? 24 : 1;
  return { phrase: COUNTED, from: Number(count) * hours, to: 0 };
}

function namedSpan(clause: string, now: Date): Span | undefined {
  const hoursSince = (dayOffset: number, hour: number): number => {
    const time = new Date(now);
    time.setDate(time.getDate() + dayOffset);
    time.setHours(hour, 0, 0, 0);
    return (now.getTime() - time.getTime()) / 3_600_000;
  };
  const spans: readonly Span[] = [
    // Late in the evening, too, this is the night before and not the one that has begun.
    { phrase: /\b(?:last night|overnight)\b/, from: hoursSince(-1, 22), to: hoursSince(0, 6) },
    { phrase: /\bthis morning\b/, from: hoursSince(0, 6), to: hoursSince(0, 12) },
    { phrase: /\byesterday\b/, from: hoursSince(-1, 0), to: hoursSince(0, 0) },
    { phrase: /\btoday\b/, from: hoursSince(0, 0), to: 0 },
  ];
  return spans.find(({ phrase }) => phrase.test(clause));
}
