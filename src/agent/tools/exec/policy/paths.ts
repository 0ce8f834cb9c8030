import { join } from "node:path";
import { isInside } from "../../../../base/path-contains.ts";
import { formsOf } from "./deny-patterns.ts";

/** Real paths between which commands stay. */
export interface Bounds {
  readonly workspace: string;
  readonly cwd: string;
  /** Other absolute paths that may be named. */
  readonly otherPaths?: readonly string[];
}

/** How a text leaves the workspace or names its secrets; undefined if it does neither. */
export function escapesOf(texts: readonly string[], bounds: Bounds): string | undefined {
  const forms = texts.flatMap(formsOf);
  if (forms.some(climbs)) return "(path traversal detected)";
  if (forms.some((form) => leaves(form, bounds))) return "(path outside working dir)";
  return forms.some((form) => SECRET.test(form) || entersState(form, bounds))
    ? "(path outside working dir): picoclaw's own state and keys are off limits"
    : undefined;
}

/** Whether `..` stands as a whole name of a path. */
function climbs(form: string): boolean {
  return /(?:^|[\s"'`=:,(){}[\]<>|;&/\\@]|(?<!\S)-[A-Za-z]{1,8})\.\.(?:$|[\s"'`=:,(){}[\]<>|;&/\\])/.test(
    form,
  );
}

/** Whether a path is absolute and lies outside, or the shell makes one of it that does. */
function leaves(form: string, { workspace, cwd, otherPaths = [] }: Bounds): boolean {
  if (/\$\{?(?:home|oldpwd)\b/i.test(form)) return true;
  // `cd` goes home without a folder, and back with a dash.
  if (/(?:^|[\s;&|({])cd\s*(?:$|[;&|)}]|-(?:$|[\s;&|]))/m.test(form)) return true;
  const text = form.replace(/\b[a-z][a-z0-9+.-]{0,20}:\/\/[^\s"'<>|;&]*/gi, (url) =>
    /^file:/i.test(url) ? url.slice("file:/".length) : "",
  );
  if (/(?:^|[\s"'=:,(<>|;&])~/.test(text)) return true;
  return absolutePathsIn(text).some(
    (path) =>
      !PSEUDO.test(path) &&
      ![workspace, cwd, ...otherPaths].some((folder) => isInside(path, folder)),
  );
}

/** Harmless files of the kernel, and the name of the system. */
const PSEUDO =
  /^\/(?:etc\/os-release|dev\/(?:null|zero|u?random|stdin|stdout|stderr|tty|full|fd\/\d+)|proc\/(?:cpuinfo|meminfo|loadavg|uptime|version|stat|diskstats|net\/(?:dev|wireless)|device-tree\/model)|sys\/class\/thermal\/thermal_zone\d+\/(?:temp|type))$/;

/** What begins with a slash or a drive, also behind the letters of an option; not the slash within `a/b`. */
function absolutePathsIn(text: string): string[] {
  const posix = text.matchAll(
    /(?:(?<![\w.\-~@+%/*?\]})^$#])|(?<=(?<!\S)-[A-Za-z]{1,8})|(?<=(?<![\w.-])@))\/[^\s"'`<>|;&()]*/g,
  );
  const windows = text.matchAll(/(?<![\w/])[A-Za-z]:\\[^\s"'<>|;&]*/g);
  return [...posix, ...windows].map(([path]) => path.replace(/^\/+/, "/"));
}

/** The program's own state and keys: everyone's conversations are in the workspace. */
const SECRET =
  /(?:^|[\s"'=:,@(<>|;&])(?:\.\/+)*(?:state|sessions)\/.|(?:^|[\s"'=:,@(<>|;&/])\.security\.yml\b/i;

/** Whether a command changes to one of these folders, or names it by its whole path. */
function entersState(form: string, { workspace }: Bounds): boolean {
  if (/\b(?:cd|pushd)\s+(?:-\S*\s+)*(?:\.\/+)*(?:state|sessions)(?=$|[\s;&|)}/])/i.test(form))
    return true;
  const folders = ["state", "sessions"].map((name) => join(workspace, name));
  return absolutePathsIn(form).some((path) => folders.some((folder) => isInside(path, folder)));
}
