import { createHash } from "node:crypto";
import { rm, stat, utimes } from "node:fs/promises";
import { basename, join } from "node:path";
import { isMissing, namesWithin, readWithin, realPathWithin } from "./files.ts";

/** Bytes of what is remembered for one client; it is part of each of its prompts. */
export const MAX_CLIENT_MEMORY = 8 * 1024;
/** Clients that something is remembered for. */
const MAX_CLIENTS = 500;
const FOLDER = "memory/clients";
const DAY_MS = 86_400_000;
/** Milliseconds after which a memory that nobody used makes room; before that, a new one is refused. */
const IDLE_MS = 30 * DAY_MS;

/**
 * Where something is remembered for one owner (`CallContext.owner`), in a workspace. A hash, because what
 * clients call themselves is no path, and two names must not come to one.
 */
export function clientMemoryFile(owner: string): string {
  const hash = createHash("sha256").update(Buffer.from(owner, "utf16le")).digest("hex");
  return `${FOLDER}/${hash.slice(0, 32)}.md`;
}

/** What an owner has had remembered, "" where that is nothing. Throws where it cannot be read. */
export async function readClientMemory(folder: string, owner: string, now: Date): Promise<string> {
  const path = join(folder, clientMemoryFile(owner));
  try {
    const { text } = await readWithin(folder, path, MAX_CLIENT_MEMORY);
    await touch(path, now);
    return text.trim();
  } catch (error) {
    if (isMissing(error)) return "";
    throw error;
  }
}

/** For who has a memory of its own: that, and what all clients have in common. */
export function bothMemories(own: string, shared: string): string {
  if (own === "") return shared === "" ? "The memory is empty." : shared;
  return shared === "" ? own : `${own}\n\nFor all clients:\n${shared}`;
}

/** Its time stamp tells when it was last used; a flash memory need not be written more than once a day for that. */
async function touch(path: string, now: Date): Promise<void> {
  const { mtimeMs } = await stat(path);
  if (now.getTime() - mtimeMs > DAY_MS) await utimes(path, now, now);
}

/**
 * Whether an owner who has none can have a memory: the one that was not used for longest gives way, once
 * that is 30 days. Never before, so that nobody who invents names can have the others forgotten.
 */
export async function hasRoom(folder: string, owner: string, now: Date): Promise<boolean> {
  const names = (await namesWithin(folder, FOLDER)).filter((name) => name.endsWith(".md"));
  if (names.length < MAX_CLIENTS || names.includes(basename(clientMemoryFile(owner)))) return true;
  const files = await Promise.all(names.map((name) => usedAt(folder, `${FOLDER}/${name}`)));
  const [oldest] = files.toSorted((left, right) => left.at - right.at);
  if (oldest === undefined || now.getTime() - oldest.at < IDLE_MS) return false;
  await rm(await realPathWithin(folder, oldest.path), { force: true });
  return true;
}

async function usedAt(folder: string, name: string): Promise<{ path: string; at: number }> {
  const path = join(folder, name);
  return { path, at: (await stat(path)).mtimeMs };
}
