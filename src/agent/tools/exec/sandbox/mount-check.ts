import { lstat } from "node:fs/promises";
import { isInside } from "../../../../base/path-contains.ts";
import type { Mount } from "./mounts.ts";

/**
 * Its arguments are lists with line ends: mount points as mountinfo shows them, paths, and their devices and
 * inodes.
 */
const SCRIPT = String.raw`
points='
'
while read -r _ _ _ _ point _; do points="$points$point
"; done < /proc/self/mountinfo
set -f
IFS='
'
isWhole=true
for point in $1; do
  case "$points" in *"
$point
"*) ;; *) isWhole=false ;; esac
done
if command -v stat > /dev/null && [ "$(stat -c %d:%i -- $2)" != "$3" ]; then isWhole=false; fi
$isWhole || { echo "a folder of the workspace was replaced just now; nothing was run" >&2; exit 126; }
shift 3
exec "$@"`;

/**
 * Arguments before a command that check its mounts. bubblewrap follows links, and a running command of
 * another sandbox could replace a folder of the workspace by a link after its path was resolved: then
 * something else would be mounted, or in another place.
 */
export async function mountCheckArgs(mounts: readonly Mount[]): Promise<readonly string[]> {
  const writable = mounts.filter(({ as }) => as === "writable");
  const isHidden = ({ as, path }: Mount): boolean =>
    as.startsWith("empty-") && writable.some((mount) => isInside(path, mount.path));
  const own = mounts.filter(isOwn).map(({ path }) => path);
  const points = mounts.filter((mount) => isOwn(mount) || isHidden(mount));
  const lists = [points.map(({ path }) => escaped(path)), own, await Promise.all(own.map(idOf))];
  const texts = lists.map((list) => list.join("\n"));
  return ["/bin/sh", "-c", SCRIPT, "sh", ...texts];
}

/** Whether a path of the machine is mounted on itself. No list can hold one with a line end. */
function isOwn({ path, as, from }: Mount): boolean {
  return (as === "read-only" || as === "writable") && from === undefined && !path.includes("\n");
}

/** Device and inode. A link has its own inode. */
async function idOf(path: string): Promise<string> {
  const stats = await lstat(path, { bigint: true }).catch(() => undefined);
  return stats === undefined ? "none" : `${stats.dev}:${stats.ino}`;
}

/** proc_pid_mountinfo(5): white space and backslashes are octal numbers. */
function escaped(path: string): string {
  return path.replaceAll(
    /[ \t\n\\]/g,
    (sign) => `\\${sign.charCodeAt(0).toString(8).padStart(3, "0")}`,
  );
}
