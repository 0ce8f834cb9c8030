import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { isInside } from "../../../../base/path-contains.ts";
import { ToolError } from "../../contract.ts";
import type { Mount } from "./mounts.ts";

/** The user of commands if this program is root: the kernel gives root more than files. */
export interface CommandUser {
  /** The id of the user and of the group. */
  readonly id: number;
  /** Absolute path of setpriv (util-linux), which changes the user. */
  readonly setpriv: string;
}

/** Ids that neither distributions nor systemd use (systemd's UIDS-GIDS.md, Debian Policy 9.2.2). */
const FIRST = 65_533;
const LAST = 65_520;
/** Milliseconds to change the owner of a whole workspace. */
const CHOWN_MS = 60_000;
/** Folders of the system, and folders that hold those of others: they stay root's, even as a workspace. */
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

/** The user of commands if this program is root, or why there is none. */
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

/** The arguments before a command that make it another user's, with no way to become root again. */
export function setprivArgs({ id, setpriv }: CommandUser): readonly string[] {
  const ids = [`--reuid=${id}`, `--regid=${id}`];
  return [setpriv, ...ids, ..."--clear-groups --inh-caps=-all --bounding-set=-all --".split(" ")];
}

/**
 * Gives root's files in a workspace to the user of commands, so that they can read and change them; root
 * can do so anyway. Hidden files stay root's, and files with several links, because one may lie elsewhere.
 * It runs in a sandbox in which only the workspace is writable: a running command may create links
 * meanwhile. Throws a `ToolError`.
 */
export async function chownWorkspace(
  { program, user }: { readonly program: string; readonly user: CommandUser },
  workspace: string,
  mounts: readonly Mount[],
): Promise<void> {
  if (SYSTEM.test(workspace)) return;
  const hidden = mounts.filter(
    ({ path, as }) => (as === "empty-folder" || as === "empty-file") && isInside(path, workspace),
  );
  const args = [
    ..."--die-with-parent --cap-drop ALL --cap-add CAP_CHOWN --cap-add CAP_DAC_READ_SEARCH".split(
      " ",
    ),
    ..."--ro-bind / / --bind".split(" "),
    workspace,
    workspace,
    ...hidden.flatMap(({ path, as }) =>
      as === "empty-folder" ? ["--tmpfs", path] : ["--ro-bind", "/dev/null", path],
    ),
    ..."-- find".split(" "),
    workspace,
    ..."-xdev -uid 0 ( -type d -o -type l -o -type p -o -type f -links 1 )".split(" "),
    ...`-exec chown -h ${user.id} {} +`.split(" "),
  ];
  const bounds = { timeout: CHOWN_MS, killSignal: "SIGKILL", env: {} } as const;
  const why = await new Promise<string>((resolve) => {
    execFile(program, args, bounds, (error, _, stderr) => {
      // A file that was deleted meanwhile is no failure.
      const fault = stderr.split("\n").find((line) => !/^$|No such file/.test(line));
      const isKilled = error !== null && stderr === "";
      resolve(fault ?? (isKilled ? error.message.slice(0, 200) : ""));
    });
  });
  if (why === "") return;
  throw new ToolError(
    `no command is run: the workspace belongs to root, and its owner could not be changed: ${why}`,
  );
}

async function textOf(file: string): Promise<string> {
  return await readFile(file, "utf8").catch(() => "");
}
