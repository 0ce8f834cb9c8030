import { access, constants } from "node:fs/promises";
import { platform } from "node:os";
import { isAbsolute, join } from "node:path";
import { isInside } from "../../../base/path-contains.ts";

/** The variables that commands get from this program's environment: how to run, no key and no setting. */
const ALLOWED_VARIABLES = [
  ..."PATH HOME USER LOGNAME SHELL TMPDIR TZ".split(" "),
  ..."LANG LANGUAGE LC_ALL LC_COLLATE LC_CTYPE LC_MESSAGES LC_MONETARY LC_NUMERIC LC_TIME".split(
    " ",
  ),
  // Without these no program starts on Windows.
  ..."SystemRoot ComSpec PATHEXT TEMP TMP USERPROFILE".split(" "),
];

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * The environment of commands: a few variables of this program, and a terminal without capabilities.
 * PATH has no folder of the workspace, where a command could have put its own `ls`.
 */
export function commandEnvironment(
  variable: (name: string) => string | undefined,
  workspace: string,
): Readonly<Record<string, string>> {
  const all = ALLOWED_VARIABLES.map((name) => [name, variable(name)] as const);
  const set = all.filter((pair): pair is readonly [string, string] => pair[1] !== undefined);
  const { PATH = DEFAULT_PATH, ...others } = Object.fromEntries(set);
  return { ...others, PATH: trustedPath(PATH, workspace) || DEFAULT_PATH, TERM: "dumb" };
}

function trustedPath(path: string, workspace: string): string {
  // On Windows a colon is a part of the drive.
  if (platform() === "win32") return path;
  const folders = path.split(":");
  return folders.filter((folder) => isAbsolute(folder) && !isInside(folder, workspace)).join(":");
}

/** The absolute path of a program in the folders of PATH; undefined if none has it. */
export async function findProgram(path: string, name: string): Promise<string | undefined> {
  for (const folder of path.split(":").filter((one) => isAbsolute(one))) {
    const program = join(folder, name);
    const isThere = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return program;
  }
  return undefined;
}
