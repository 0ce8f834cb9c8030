import { typingErrors } from "../../base/spelling.ts";
import { KNOWN_WORDS, LOOKALIKES, meaningsOf } from "./vocabulary.ts";
import type { Meaning } from "./vocabulary.ts";

/** One question or remark, as words with what they can mean. */
export interface Clause {
  /** Lower case, spelt right, one blank between words. */
  readonly text: string;
  readonly words: readonly Word[];
}

export interface Word {
  readonly text: string;
  /** Undefined for a word that has no place in a question about a device. */
  readonly meanings: ReadonlySet<string> | undefined;
}

/** Sizes of a text beyond which nobody asks how busy a CPU is. */
const MAX_WORDS = 80;
const MAX_CHARACTERS = 1000;

/** Several words that are one, and spellings that no typing error explains. */
const PHRASES: readonly (readonly [RegExp, string])[] = [
  [/\boperating systems?\b/g, "os"],
  [/\b(file) (systems?)\b/g, "$1$2"],
  [/\b(hard|solid state) (drives?|disks?)\b/g, "disk"],
  [/\b(sd|memory|flash) cards?\b|\bflash (drive|disk|storage)\b/g, "sdcard"],
  [/\bup time\b/g, "uptime"],
  [/\bhost name\b/g, "hostname"],
  [/\btime zone\b/g, "timezone"],
  [/\bload (average|avg)s?\b/g, "loadavg"],
  [/\bcentral processing unit\b/g, "cpu"],
  [/\braspberry pi\b/g, "raspberrypi"],
  [/\bcup (?=usage|use|load|utili[sz]ation|temp)/g, "cpu "],
  [/\b(switched|turned|powered) (on|up)\b|\bpower (on|up)\b/g, "booted"],
  [/\bsingle board computer\b/g, "board"],
  [/\bout of (?=memory|ram|disk|space|storage)/g, "low "],
  [/\b(working|running) hard\b/g, "busy"],
  [
    /\b(cpu|memory|ram|disk|ip|load)(usage|space|load|temp|temperature|address|average)\b/g,
    "$1 $2",
  ],
  [/\bday of (the )?week\b/g, "weekday"],
  [/\bstatus updates?\b/g, "status"],
  [/\bu\b/g, "you"],
  [/\br\b/g, "are"],
  [/\b(i|id|we) (would|d)? ?(like|want|love|need) to (know|see|hear|have|find out)\b/g, "tell me"],
  [/\bi (want|need) (?=the|your|a)/g, "tell me "],
  [/\bi (am|was)? ?(just )?(wonder|wondering|curious)( about)?\b/g, "tell me"],
  [/\blet (me|us) (know|see)\b/g, "tell me"],
];

/** A text as its clauses; an overlong one is a single clause of a stranger's word. */
export function clausesOf(text: string): Clause[] {
  const isLong = text.length > MAX_CHARACTERS || text.split(/\s+/).length > MAX_WORDS;
  if (isLong) return [{ text: "", words: [{ text: "", meanings: undefined }] }];
  return plainText(text)
    .split(CLAUSE_END)
    .map((part) => clauseOf(part))
    .filter(({ words }) => words.length > 0);
}

/** The parts of a clause that stand side by side: `cpu and memory usage`. */
export function segmentsOf(clause: Clause): Clause[] {
  return clause.text
    .split(/ (?:and|or|plus|also|,|as well as)(?= |$)| ,/)
    .map((part) => clauseOf(part))
    .filter(({ words }) => words.length > 0);
}

/** Whether a clause holds a word of one of these meanings. */
export function has({ words }: Clause, ...wanted: readonly Meaning[]): boolean {
  return wanted.some((meaning) => words.some((word) => word.meanings?.has(meaning) === true));
}

const QUESTION =
  "what|whats|how|hows|who|which|when|why|where|is|are|do|does|can|could|tell|show|give|please";

/** The end of a sentence, or an `and` with a question of its own behind it. */
const CLAUSE_END = new RegExp(
  `[?!;\\n]+|\\.+(?=\\s|$)|,?\\s(?:and|or|but|then)(?: also| then)?\\s(?=(?:${QUESTION})\\b)|,\\s*(?=(?:${QUESTION})\\b)`,
);

function plainText(text: string): string {
  return text
    .toLowerCase()
    .normalize("NFKD")
    .replaceAll(/\p{M}/gu, "")
    .replaceAll(/\b(what|how|who|where|when|that|there)['’]?s\b/g, "$1 is")
    .replaceAll(/\bwhat['’]?re\b/g, "what are")
    .replaceAll(/\b(it)['’]s\b/g, "$1 is")
    .replaceAll(/\bi['’]?m\b/g, "i am")
    .replaceAll(/['’]ve\b/g, " have")
    .replaceAll(/['’]d\b/g, " would")
    .replaceAll(/['’]re\b/g, " are")
    .replaceAll(/['’]s\b/g, "")
    .replaceAll(/['’]/g, "")
    .replaceAll("%", " percent ")
    .replaceAll("&", " and ")
    .replaceAll("°", " ");
}

function clauseOf(part: string): Clause {
  const spelt = (part.match(/[\p{L}\p{N}]+|,/gu) ?? []).map(spelling).join(" ");
  const text = PHRASES.reduce((words, [from, to]) => words.replaceAll(from, to), spelt)
    .replaceAll(/\s+/g, " ")
    .trim();
  const words = text.split(" ").filter((word) => word !== "" && word !== ",");
  return { text, words: words.map((word) => ({ text: word, meanings: meaningsOf(word) })) };
}

/** The known word that was meant; the word itself where it is known, short, or a word of its own. */
function spelling(word: string): string {
  if (word.length < 3 || meaningsOf(word) !== undefined || LOOKALIKES.has(word)) return word;
  let best: { known: string; distance: number } | undefined;
  for (const known of KNOWN_WORDS) {
    const errors = errorsBetween(word, known);
    // Of two words that are as near, the one that begins alike was meant: `hwo` is `how`.
    const distance = (errors ?? Infinity) + (word[0] === known[0] ? 0 : 0.5);
    if (distance < (best?.distance ?? Infinity)) best = { known, distance };
  }
  return best?.known ?? word;
}

/** Errors that a hurried typist makes, fewer in shorter words; undefined for more. */
function errorsBetween(word: string, known: string): number | undefined {
  const most = known.length >= 9 ? 2 : 1;
  const errors = typingErrors(word, known, most);
  if (errors > most) return undefined;
  if (word.length === known.length && isAnagram(word, known) && errors === 1) return 1;
  if (word[0] !== known[0] || known.length < 5) return undefined;
  // In a word of five letters another letter is mostly another word: spice is no space.
  return known.length === 5 && word.length === 5 ? undefined : errors;
}

function isAnagram(left: string, right: string): boolean {
  return left.split("").toSorted().join("") === right.split("").toSorted().join("");
}
