import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Folders around a path that only their owner may pass: who sees nothing in them passes what is put in
 * their place. None where everybody may go there.
 */
export async function closedAround(path: string): Promise<readonly string[]> {
  const closed: string[] = [];
  for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
    const isOpen = await stat(folder).then(
      ({ mode }) => (mode & 0o001) !== 0,
      () => true,
    );
    if (!isOpen) closed.push(folder);
  }
  return closed;
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
