/** What commands may know of this program's environment: how to run, never a key or a setting of ours. */
const ALLOWED = [
  ..."PATH HOME USER LOGNAME SHELL TMPDIR TZ".split(" "),
  ..."LANG LANGUAGE LC_ALL LC_COLLATE LC_CTYPE LC_MESSAGES LC_MONETARY LC_NUMERIC LC_TIME".split(
    " ",
  ),
  // Without these no program starts on Windows.
  ..."SystemRoot ComSpec PATHEXT TEMP TMP USERPROFILE".split(" "),
];

const USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The environment of commands: a few names of ours, and a terminal that can do nothing. */
export function commandEnvironment(
  variable: (name: string) => string | undefined,
): Readonly<Record<string, string>> {
  const known = ALLOWED.map((name) => [name, variable(name)] as const);
  const set = known.filter((pair): pair is readonly [string, string] => pair[1] !== undefined);
  return { PATH: USUAL_PATH, ...Object.fromEntries(set), TERM: "dumb" };
}
