import type { Stats } from "node:fs";
import { lstat, readdir, readFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";

/** Folders, and how many folders deep something may lie in them: keys of the machine's services. */
const GROUNDS: readonly (readonly [string, number])[] = [
  ["/", 1],
  ["/etc", 4],
  ["/opt", 2],
  ["/srv", 2],
  ["/var/cache", 1],
  ["/var/lib", 1],
  ["/var/log", 2],
];
/** What the cage has of its own. */
const OWN = new Set(["/dev", "/proc", "/sys"]);
/** Things that are looked at. */
const MOST = 20_000;
/** Milliseconds for which what was found holds. */
const HOLDS_MS = 10 * 60_000;

let found: { readonly paths: Promise<readonly string[]>; readonly until: number } | undefined;

/**
 * What root alone may read, such as keys of Wi-Fi and of other services: a command that runs as root could
 * do so, too. Nothing where this program is somebody else, who cannot.
 */
export async function closedToOthers(): Promise<readonly string[]> {
  if (!isRoot()) return [];
  if (found === undefined || found.until < performance.now()) {
    found = { paths: look(), until: performance.now() + HOLDS_MS };
  }
  return await found.paths;
}

/**
 * Sockets of services with a path, wherever that is: who can connect can ask for what the service may do.
 * A folder that can only be read would not keep anybody from it (unix(7)).
 */
export async function socketsHere(): Promise<readonly string[]> {
  const text = await readFile("/proc/net/unix", "utf8").catch(() => "");
  // Number, references, protocol, flags (accepts connections: 1 << 16), type, state, inode, path.
  const paths = text.matchAll(/^\S+: \S+ \S+ 00010000 \S+ \S+ +\d+ (\/.*)$/gm);
  return [...new Set([...paths].map(([, path = ""]) => path))];
}

async function look(): Promise<readonly string[]> {
  const closed: string[] = [];
  let left = MOST;
  const visit = async (folder: string, depth: number): Promise<void> => {
    for (const name of await readdir(folder).catch(() => [])) {
      const path = join(folder, name);
      left -= 1;
      if (left < 0) return;
      if (OWN.has(path)) continue;
      const kind = kindOf(await lstat(path).catch(() => undefined));
      if (kind === "closed") closed.push(path);
      if (kind === "folder" && depth > 1) await visit(path, depth - 1);
    }
  };
  for (const [folder, depth] of GROUNDS) await visit(folder, depth);
  return closed;
}

/** Without capabilities root reads what is its own, its group's, or everyone's. */
function kindOf(stat: Stats | undefined): "closed" | "folder" | "other" {
  if (stat === undefined || !(stat.isDirectory() || stat.isFile())) return "other";
  const needed = stat.isDirectory() ? 0o005 : 0o004;
  const isRoots = stat.uid === 0 || stat.gid === 0;
  if (isRoots && (stat.mode & needed) !== needed) return "closed";
  return stat.isDirectory() ? "folder" : "other";
}

function isRoot(): boolean {
  try {
    return userInfo().uid === 0;
  } catch {
    // A user without a name is not root.
    return false;
  }
}
