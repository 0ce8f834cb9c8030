const set = (words: string): ReadonlySet<string> => new Set(words.trim().split(/\s+/));

/** Programs that read, count, copy or print what their arguments name, and run none of it. */
const HARMLESS = set(`
  echo printf grep egrep fgrep rg ag ls dir cat tac nl head tail wc sort uniq cut paste join tr test [ date cal
  df du ps pgrep pidof file stat basename dirname realpath readlink which type whereis man whatis apropos help jq yq
  seq expr bc true false : sleep pwd whoami id hostname uname uptime free diff cmp comm md5sum cksum
  sha1sum sha256sum sha512sum base64 xxd od hexdump strings mkdir touch cp mv ln curl wget tee column fold
  fmt rev factor lscpu lsblk lsusb nproc arch groups tty tput clear history dig nslookup host ping sed
  traceroute netstat ss journalctl vmstat iostat exit return break continue shift cd pushd popd
`);
/** Those whose arguments are text for a reader. */
const SPEAKING = set(
  "echo printf test [ expr seq true false : sleep exit return break continue shift tr",
);
/** Programs that run the one that their arguments name. */
const WRAPPERS = set(
  "timeout nice ionice nohup setsid stdbuf env xargs command builtin exec time busybox",
);
const LANGUAGES = /^(?:python|pypy|perl|ruby|node|bun|deno|php|lua|r|rscript|octave|julia)[\d.]*$/;

export function isHarmless(name: string): boolean {
  return HARMLESS.has(name);
}

export interface Program {
  /** Without its folder, in small letters. */
  readonly name: string;
  readonly isSpeaking: boolean;
  /** The index of its first argument among those of the whole command. */
  readonly from: number;
}

/** The program that a command runs, also behind wrappers such as `timeout 5`. */
export function programOf(written: string, args: readonly string[] = [], from = 0): Program {
  const name = written.slice(written.lastIndexOf("/") + 1).toLowerCase();
  const isOwn = /^-|^[\d.]+[smhd]?$|^\w+=/;
  const at = args.findIndex((arg, index) => index >= from && !isOwn.test(arg));
  if (WRAPPERS.has(name) && at >= 0) return programOf(args[at] ?? "", args, at + 1);
  return { name, isSpeaking: SPEAKING.has(name), from };
}

/** The arguments that are no plain paths: by their index, what of them is looked at. */
export function dataOf(
  { name, from }: Program,
  args: readonly string[],
): ReadonlyMap<number, (value: string) => string> {
  const all = args.map((_, index) => index).filter((index) => index >= from);
  const are = (pattern: RegExp): number[] => all.filter((index) => pattern.test(args[index] ?? ""));
  if (/^(?:[ef]?grep|rg|ag)$/.test(name)) return chosen(firstOperand(args, all));
  if (/^(?:[gmn]?awk|g?sed|jq|yq)$/.test(name)) {
    return new Map([...chosen(firstOperand(args, all), quotedStrings), ...chosen(are(/^-F.$/))]);
  }
  if (LANGUAGES.test(name)) return chosen(all, withoutDivisions);
  if (name === "git") {
    const given = are(/^(?:-[a-zA-Z]*m|--message|--grep|--author)$/).map((index) => index + 1);
    return chosen([...given, ...are(/^--(?:message|grep|author|format|pretty|date)=/)]);
  }
  // df reads nothing in the folders that it is given.
  if (name === "df") return chosen(are(/^(?:\/[\w-]+)*\/?$/));
  return chosen(/^(?:cut|sort)$/.test(name) ? are(/^-[dt].$/) : []);
}

function chosen(indexes: readonly number[], looked: (value: string) => string = () => "_") {
  return new Map(indexes.map((index) => [index, looked] as const));
}

/** The pattern or the code of a call: after `-e`, else the first operand, unless a file holds it. */
function firstOperand(args: readonly string[], all: readonly number[]): readonly number[] {
  if (all.some((index) => /^-[a-zA-Z]*f|^--(?:from-)?file/.test(args[index] ?? ""))) return [];
  const given = all.filter(
    (index) =>
      /^-[a-zA-Z]*e$/.test(args[index - 1] ?? "") ||
      /^(?:-[a-zA-Z]*e.|--(?:expression|regexp)=)/.test(args[index] ?? ""),
  );
  const isOperand = (index: number): boolean =>
    !/^-./.test(args[index] ?? "") && !/^-[Fv]$/.test(args[index - 1] ?? "");
  return given.length > 0 ? given : all.filter(isOperand).slice(0, 1);
}

/** A filter names files only in quotes. */
function quotedStrings(code: string): string {
  const strings = [...code.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = ""]) => text);
  return strings.filter((text) => text !== "/").join(" ") || "_";
}

/** In code a slash between blanks is no path. */
export function withoutDivisions(code: string): string {
  return code.replace(/(?<=[\w)\]]\s)\/{1,2}(?=\s[\w(])/g, "_");
}
