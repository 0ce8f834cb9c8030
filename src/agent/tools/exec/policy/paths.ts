import { isInside } from "../../../../base/path-contains.ts";

/** Real paths between which commands stay. */
export interface Ground {
  readonly workspace: string;
  readonly cwd: string;
  readonly beside?: readonly string[];
}

/** Files that the kernel makes up and that harm nobody, and what the system is called. */
const PSEUDO =
  /^\/(?:etc\/os-release|dev\/(?:null|zero|u?random|stdin|stdout|stderr|tty|full|fd\/\d+)|proc\/(?:cpuinfo|meminfo|loadavg|uptime|version|stat|diskstats|net\/(?:dev|wireless)|device-tree\/model)|sys\/class\/thermal\/thermal_zone\d+\/(?:temp|type))$/;

/** `..` as a whole name of a path. */
export function climbs(form: string): boolean {
  return /(?:^|[\s"'`=:,(){}[\]<>|;&/\\@]|(?<!\S)-[A-Za-z]{1,8})\.\.(?:$|[\s"'`=:,(){}[\]<>|;&/\\])/.test(
    form,
  );
}

/** Characters of a pattern for one name of a path; longer ones take long to be looked at. */
const LONGEST_PATTERN = 100;

/** Whether a pattern may stand for `..`: shells differ in that, dash finds it. */
export function mayClimb(pattern: string): boolean {
  return pattern
    .split("/")
    .some((name) => /^[.{@+?]/.test(name) && /[*?[{(]/.test(name) && matches(name));
}

/** Whether a name of a path is `..`, as far as a shell's pattern says; what cannot be read may be. */
function matches(name: string): boolean {
  if (name.length > LONGEST_PATTERN) return true;
  const source = name
    .replace(/\[:\w+:\]/g, ".")
    .replace(/[\\^$.|+]/g, String.raw`\$&`)
    .replace(/\[[!^]?/g, (opened) => (opened.length > 1 ? "[^" : "["))
    .replaceAll("*", ".*")
    .replaceAll("?", ".")
    .replaceAll("{", "(?:")
    .replaceAll("}", ")")
    .replaceAll(",", "|");
  try {
    return new RegExp(`^(?:${source})$`).test("..");
  } catch {
    return true;
  }
}

/** Whether a command may name something outside: an absolute path, or what the shell makes one of. */
export function leaves(form: string, ground: Ground): boolean {
  if (/\$\{?(?:home|oldpwd)\b/i.test(form)) return true;
  // Without a folder it goes home, with a dash back.
  if (/(?:^|[\s;&|({])cd\s*(?:$|[;&|)}]|-(?:$|[\s;&|]))/m.test(form)) return true;
  return leavesWord(form, ground);
}

/** The same for a word as a program gets it. */
export function leavesWord(word: string, { workspace, cwd, beside = [] }: Ground): boolean {
  const text = word.replace(/\b[a-z][a-z0-9+.-]{0,20}:\/\/[^\s"'<>|;&]*/gi, (url) =>
    /^file:/i.test(url) ? url.slice("file:/".length) : "",
  );
  if (/(?:^|[\s"'=:,(<>|;&])~/.test(text)) return true;
  return absolutePathsIn(text).some(
    (path) =>
      !PSEUDO.test(path) && ![workspace, cwd, ...beside].some((folder) => isInside(path, folder)),
  );
}

/** Words that begin with a slash, or with a drive; not the slash within `a/b`; but the path behind the letters of an option. */
function absolutePathsIn(text: string): string[] {
  const posix = text.matchAll(
    /(?:(?<![\w.\-~@+%/*?\]})^$#])|(?<=(?<!\S)-[A-Za-z]{1,8})|(?<=(?<![\w.-])@))\/[^\s"'`<>|;&()]*/g,
  );
  const windows = text.matchAll(/(?<![\w/])[A-Za-z]:\\[^\s"'<>|;&]*/g);
  return [...posix, ...windows].map(([path]) => path.replace(/^\/+/, "/"));
}

/** Whether a word names the workspace's own state: everyone's conversations. */
export function isProtected(word: string): boolean {
  return /^(?:\.\/)*(?:state|sessions)\/./i.test(word) || /(?:^|\/)\.security\.yml$/i.test(word);
}
