import { lstat } from "node:fs/promises";
import { isInside } from "../../../../base/path-contains.ts";
import type { Mount } from "./mounts.ts";

/** Its arguments are three for each mount: its path, the path as mountinfo shows it, device and inode or "". */
const SCRIPT = String.raw`
points=$(while read -r _ _ _ _ point _; do printf '|%s|\n' "$point"; done < /proc/self/mountinfo)
isOwn() { [ -z "$2" ] || ! command -v stat > /dev/null || [ "$(stat -c %d:%i -- "$1")" = "$2" ]; }
while [ "$1" != -- ]; do
  case "$points" in
    *"|$2|"*) isOwn "$1" "$3" ;;
    *) false ;;
  esac || { echo "a folder of the workspace was replaced just now; nothing was run" >&2; exit 126; }
  shift 3
done
shift
exec "$@"`;

/**
 * Arguments before a command that check its mounts. bubblewrap follows links, and a running command of
 * another sandbox could replace a folder of the workspace by a link after its path was resolved: then
 * something else would be mounted, or in another place.
 */
export async function mountCheckArgs(mounts: readonly Mount[]): Promise<readonly string[]> {
  const writable = mounts.filter(({ as }) => as === "writable");
  const isReplaceable = ({ path, as, from }: Mount): boolean =>
    as === "empty-folder" || as === "empty-file"
      ? writable.some((mount) => isInside(path, mount.path))
      : as !== "system" && as !== "scratch" && from === undefined;
  const checked = mounts.filter(isReplaceable);
  const facts = await Promise.all(
    checked.map(async (mount) => [mount.path, escaped(mount.path), await idOf(mount)]),
  );
  return ["/bin/sh", "-c", SCRIPT, "sh", ...facts.flat(), "--"];
}

/** Device and inode of what is mounted; "" for what is hidden. A link has its own inode. */
async function idOf({ path, as }: Mount): Promise<string> {
  if (as !== "read-only" && as !== "writable") return "";
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
