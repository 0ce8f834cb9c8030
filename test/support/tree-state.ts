import { createHash } from "node:crypto";
import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";

/** What lies below a folder, by path: kind, mode and content in one word. */
export type TreeState = ReadonlyMap<string, string>;

/** Looks at all that lies below a folder, links themselves and not what they lead to; `leave` says what is not looked at. */
export async function treeState(
  folder: string,
  leave: (path: string) => boolean = () => false,
): Promise<TreeState> {
  const state = new Map<string, string>();
  const look = async (path: string): Promise<void> => {
    for (const name of await readdir(join(folder, path))) {
      const inner = join(path, name);
      if (leave(inner)) continue;
      const facts = await lstat(join(folder, inner));
      const mode = (facts.mode & 0o7777).toString(8);
      if (facts.isDirectory()) {
        state.set(inner, `folder ${mode}`);
        await look(inner);
      } else if (facts.isSymbolicLink()) {
        state.set(inner, `link to ${await readlink(join(folder, inner))}`);
      } else if (facts.isFile()) {
        const hash = createHash("sha256").update(await readFile(join(folder, inner)));
        state.set(inner, `file ${mode} ${hash.digest("hex")}`);
      } else state.set(inner, `other ${mode}`);
    }
  };
  await look(".");
  return state;
}

/** Paths that are new, gone, or not as they were, in their order. */
export function changedBetween(before: TreeState, after: TreeState): string[] {
  const paths = new Set([...before.keys(), ...after.keys()]);
  return [...paths].filter((path) => before.get(path) !== after.get(path)).toSorted();
}
