import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { isInside } from "../../../../base/path-contains.ts";
import { FileError } from "../../files/errors.ts";
import type { Mount } from "./mounts.ts";

/** As whom commands run where this program is root, to whom the kernel gives more than files. */
export interface CommandUser {
  /** Of the user and of the group. */
  readonly id: number;
  /** Absolute path of util-linux's program that changes the user. */
  readonly setpriv: string;
}

/** Ids that neither distributions nor systemd give to anybody (systemd's UIDS-GIDS.md, Debian Policy 9.2.2). */
const FIRST = 65_533;
const LAST = 65_520;
/** Milliseconds in which all of a workspace must have been given to its commands. */
const CHOWN_MS = 60_000;
/** Folders of the system, and those that others' folders lie in: they stay root's, be they a workspace. */
const SYSTEM =
  /^\/(?:(?:bin|boot|dev|etc|lib\w*|proc|run|sbin|sys|usr)(?:\/.*)?|(?:home|media|mnt|opt|root|srv|tmp|var)?)$/;

/** Whether this program runs as root. */
export function isRoot(): boolean {
  try {
    return userInfo().uid === 0;
  } catch {
    // A user without a name is not root.
    return false;
  }
}

/** As whom commands run where this program is root; in words why there can be nobody. */
export async function commandUser(
  find: (program: string) => Promise<string | undefined>,
): Promise<CommandUser | string> {
  const setpriv = await find("setpriv");
  if (setpriv === undefined) return "setpriv of util-linux is not installed";
  const lists = await Promise.all(["/etc/passwd", "/etc/group"].map(textOf));
  const taken = new Set(
    lists.flatMap((text) => [...text.matchAll(/^[^:\n]*:[^:\n]*:(\d+)/gm)].map(([, id]) => id)),
  );
  for (let id = FIRST; id >= LAST; id -= 1) if (!taken.has(String(id))) return { id, setpriv };
  return `no id from ${LAST} to ${FIRST} is free`;
}

/** The words before a command that make it another user's, without any right to be root again. */
export function setprivArgs({ id, setpriv }: CommandUser): readonly string[] {
  const ids = [`--reuid=${id}`, `--regid=${id}`];
  return [setpriv, ...ids, ..."--clear-groups --inh-caps=-all --bounding-set=-all --".split(" ")];
}

/**
 * Gives what is root's in a workspace to the user of its commands, so that they can read and change it as
 * before; root can do so anyway. Not what is hidden there, nor files with several names, one of which may
 * be elsewhere. A command that runs already may put links in the way: nothing else can be written here.
 * Throws a `FileError`.
 */
export async function chownWorkspace(
  { program, user }: { readonly program: string; readonly user: CommandUser },
  workspace: string,
  mounts: readonly Mount[],
): Promise<void> {
  if (SYSTEM.test(workspace)) return;
  const hidden = mounts.filter(
    ({ path, as }) => (as === "blank" || as === "nothing") && isInside(path, workspace),
  );
  const words = [
    ..."--die-with-parent --cap-drop ALL --cap-add CAP_CHOWN --cap-add CAP_DAC_READ_SEARCH".split(
      " ",
    ),
    ..."--ro-bind / / --bind".split(" "),
    workspace,
    workspace,
    ...hidden.flatMap(({ path, as }) =>
      as === "blank" ? ["--tmpfs", path] : ["--ro-bind", "/dev/null", path],
    ),
    ..."-- find".split(" "),
    workspace,
    ..."-xdev -uid 0 ( -type d -o -type l -o -type p -o -type f -links 1 )".split(" "),
    ...`-exec chown -h ${user.id} {} +`.split(" "),
  ];
  const bounds = { timeout: CHOWN_MS, killSignal: "SIGKILL", env: {} } as const;
  const why = await new Promise<string>((resolve) => {
    execFile(program, words, bounds, (error, _, stderr) => {
      // What was deleted meanwhile needs no owner.
      const fault = stderr.split("\n").find((line) => !/^$|No such file/.test(line));
      const isKilled = error !== null && stderr === "";
      resolve(fault ?? (isKilled ? error.message.slice(0, 200) : ""));
    });
  });
  if (why === "") return;
  throw new FileError(`no command is run: the workspace is root's and could not be opened: ${why}`);
}

async function textOf(file: string): Promise<string> {
  return await readFile(file, "utf8").catch(() => "");
}
