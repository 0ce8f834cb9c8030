import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { basename, join } from "node:path";
import { CLIENT_MEMORIES } from "./contract.ts";
import type { Notes } from "./contract.ts";
import { isMissing, readWithin, STAT_CACHED_MS } from "./files.ts";

/** Bytes of one client's memory, which is part of each of its prompts. */
export const MAX_CLIENT_MEMORY = 8 * 1024;
/** Clients with a memory. */
const MAX_CLIENTS = 500;
const DAY_MS = 86_400_000;
/** Milliseconds after which an unused memory can be removed for a new one. Before that, a new one is refused. */
const IDLE_MS = 30 * DAY_MS;

/**
 * The file of one owner's memory (`CallContext.owner`), in a workspace. Its name is a hash, because client ids
 * are not file names, and two ids must not share a file.
 */
export function clientMemoryFile(owner: string): string {
  const hash = createHash("sha256").update(Buffer.from(owner, "utf16le")).digest("hex");
  return `${CLIENT_MEMORIES}/${hash.slice(0, 32)}.md`;
}

/** When a file was last found missing, by its path; on the clock of `performance`. */
const missingAt = new Map<string, number>();

/** Whether an owner had no memory a moment ago and has none now: most clients have none. */
export function hasNoMemory(folder: string, owner: string): boolean {
  const path = join(folder, clientMemoryFile(owner));
  const now = performance.now();
  const at = missingAt.get(path);
  if (at === undefined || now - at >= STAT_CACHED_MS) return false;
  const isThere = statSync(path, { throwIfNoEntry: false }) !== undefined;
  if (isThere) missingAt.delete(path);
  else missingAt.set(path, now);
  return !isThere;
}

/** The memory of an owner, or "". Throws if it cannot be read. */
export async function readClientMemory(
  { folder, notes }: { readonly folder: string; readonly notes: Notes },
  owner: string,
  now: Date,
): Promise<string> {
  const file = clientMemoryFile(owner);
  const path = join(folder, file);
  try {
    const { text } = await readWithin(folder, path, MAX_CLIENT_MEMORY);
    await notes.use(file, now);
    return text.trim();
  } catch (error) {
    if (!isMissing(error)) throw error;
    if (missingAt.size >= MAX_CLIENTS) missingAt.clear();
    missingAt.set(path, performance.now());
    return "";
  }
}

/** The private memory of a client, and the shared one. */
export function bothMemories(own: string, shared: string): string {
  if (own === "") return shared === "" ? "The memory is empty." : shared;
  return shared === "" ? own : `${own}\n\nFor all clients:\n${shared}`;
}

/**
 * Whether an owner has a memory or can get one. If there are too many, the one with the oldest use is removed,
 * but only after 30 days without use: a client with invented ids must not remove the memories of others.
 */
export async function hasRoom(notes: Notes, owner: string, now: Date): Promise<boolean> {
  const names = (await notes.names(CLIENT_MEMORIES)).filter((name) => name.endsWith(".md"));
  if (names.length < MAX_CLIENTS || names.includes(basename(clientMemoryFile(owner)))) return true;
  const files = await Promise.all(
    names.map(async (name) => {
      const path = `${CLIENT_MEMORIES}/${name}`;
      return { path, at: await notes.usedAt(path) };
    }),
  );
  const [oldest] = files.toSorted((left, right) => left.at - right.at);
  if (oldest === undefined || now.getTime() - oldest.at < IDLE_MS) return false;
  await notes.remove(oldest.path);
  return true;
}
