import type { Stats } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isKept } from "./bounds.ts";
import type { Bounds } from "./bounds.ts";
import { realWorkspace } from "./locate.ts";

/** Folders of the workspace whose files are kept from the tools, and files that may lie beside them. */
const FOLDERS = ["state", "sessions", "memory/clients"];
const FILES = ["config.json", ".security.yml"];
/** Files that are compared; beyond them a file of several names counts as one that is kept. */
const MOST = 50_000;

/**
 * Whether a file of several names (hard links) is one that is kept from the tools under another of them,
 * as far as device and inode tell.
 */
export async function isKeptElsewhere(
  { dev, ino, nlink }: Pick<Stats, "dev" | "ino" | "nlink">,
  bounds: Pick<Bounds, "workspace" | "keyFiles">,
): Promise<boolean> {
  if (nlink < 2) return false;
  const workspace = await realWorkspace(bounds.workspace);
  const beside = bounds.keyFiles.flatMap((file) => FILES.map((name) => join(dirname(file), name)));
  const kept = [...bounds.keyFiles, ...beside, ...FILES.map((name) => join(workspace, name))];
  for (const folder of FOLDERS) {
    const names = await readdir(join(workspace, folder), { recursive: true }).catch(() => []);
    if (names.length > MOST) return true;
    kept.push(...names.map((name) => join(workspace, folder, name)));
  }
  for (const path of new Set(kept)) {
    if (!isKept(path, { ...bounds, workspace })) continue;
    const one = await stat(path).catch(() => undefined);
    if (one !== undefined && one.dev === dev && one.ino === ino) return true;
  }
  return false;
}
