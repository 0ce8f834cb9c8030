import { platform } from "node:os";
import { isAbsolute } from "node:path";
import { isInside } from "../../../base/path-contains.ts";

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

/**
 * The environment of commands: a few names of ours, and a terminal that can do nothing. Programs are
 * looked for in no folder of the workspace, where a command could have put its own `ls`.
 */
export function commandEnvironment(
  variable: (name: string) => string | undefined,
  workspace: string,
): Readonly<Record<string, string>> {
  const known = ALLOWED.map((name) => [name, variable(name)] as const);
  const set = known.filter((pair): pair is readonly [string, string] => pair[1] !== undefined);
  const { PATH = USUAL_PATH, ...others } = Object.fromEntries(set);
  return { ...others, PATH: trustedPath(PATH, workspace) || USUAL_PATH, TERM: "dumb" };
}

function trustedPath(path: string, workspace: string): string {
  // On Windows a colon belongs to the drive.
  if (platform() === "win32") return path;
  const folders = path.split(":");
  return folders.filter((folder) => isAbsolute(folder) && !isInside(folder, workspace)).join(":");
}
