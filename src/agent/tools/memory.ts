import * as v from "valibot";
import { truncate } from "../../base/truncate.ts";
import {
  bothMemories,
  hasRoom,
  MAX_CLIENT_MEMORY,
  clientMemoryFile,
} from "../workspace/client-memory.ts";
import type { Notes, Workspace } from "../workspace/contract.ts";
import { dayFile, dayOf, fileNotes, isMonth, localClock, localDay } from "../workspace/notes.ts";
import { ToolError } from "./contract.ts";
import type { Tool } from "./contract.ts";
import { defineTool, textField } from "./define.ts";

const TITLE = "# Memory\n";
/** Bytes of MEMORY.md, which is part of every prompt, and of the notes of one day. */
const MAX_MEMORY = 32 * 1024;
const MAX_DAY = 64 * 1024;
/** Characters of one entry. */
const MAX_ENTRY = 2_000;
const MAX_DAYS_READ = 7;
/** Days with notes that an answer lists if a day has none. */
const MAX_DAYS_LISTED = 31;

const input = v.object({
  action: v.pipe(
    v.picklist(["remember", "note", "read", "forget"]),
    v.description(
      "remember: keep a lasting fact; note: keep what happened today; read: show the memory and the notes of days; forget: remove the entries that contain the text.",
    ),
  ),
  text: v.optional(textField("The entry, one line; for forget: words of it.")),
  days: v.optional(
    v.pipe(
      v.array(v.pipe(v.string(), v.regex(/^\d{4}-\d{2}-\d{2}$/, "write days as YYYY-MM-DD"))),
      v.maxLength(MAX_DAYS_READ, `at most ${MAX_DAYS_READ} days at once`),
      v.description("For read: days as YYYY-MM-DD."),
    ),
  ),
});

export interface MemoryOptions {
  readonly workspace: Pick<Workspace, "folder"> & Partial<Pick<Workspace, "notes">>;
  readonly now: () => Date;
}

/** A file of entries. */
interface Book {
  /** Path in the workspace. */
  readonly path: string;
  /** Bytes. */
  readonly most: number;
}

/** The memory of all clients. */
const SHARED: Book = { path: "memory/MEMORY.md", most: MAX_MEMORY };

/**
 * The tool for what the agent remembers beyond a conversation: MEMORY.md and a file of notes a day, for all
 * clients. A client that may not change those can read them, and has a private memory of its own.
 */
export function createMemoryTool({ workspace, now }: MemoryOptions): Tool {
  const { notes = fileNotes(workspace.folder) } = workspace;
  return defineTool({
    name: "memory",
    description:
      "Your memory beyond this conversation, which begins with it and the latest notes. Never keep secrets such as passwords.",
    input,
    exclusive: true,
    characters: MAX_MEMORY + 4 * 1024,
    async run({ action, text = "", days = [] }, { permissions, owner }) {
      const isOwn = permissions.memory === "own";
      const book = isOwn ? { path: clientMemoryFile(owner), most: MAX_CLIENT_MEMORY } : SHARED;
      if (action === "read") return await read(notes, book, days);
      const line = oneLine(text);
      if (line === "") throw new ToolError(`${action} needs a text`);
      if (line.length > MAX_ENTRY) {
        throw new ToolError(
          `the text has ${line.length} characters, and an entry may have ${MAX_ENTRY}`,
        );
      }
      if (action === "forget") return await forget(notes, book, line);
      if (isOwn && !(await hasRoom(notes, owner, now()))) {
        throw new ToolError(
          "the memories of clients are full; the owner can remove files in memory/clients",
        );
      }
      if (action === "remember") return await remember(notes, book, line);
      if (!isOwn) return await note(notes, line, now());
      const at = `${localDay(now())} ${localClock(now())}`;
      return await remember(notes, book, `${at} ${line}`);
    },
  });
}

async function remember(notes: Notes, { path, most }: Book, line: string): Promise<string> {
  const wanted = line.toLowerCase();
  let isKnown = false;
  await notes.change(path, (before) => {
    isKnown = before.split("\n").some((row) => entryOf(row)?.toLowerCase() === wanted);
    if (isKnown) return before;
    const after = withLine(before === "" ? TITLE : before, `- ${line}`);
    if (sizeOf(after) > most) throw fullError(before, most);
    return after;
  });
  return isKnown ? "That is already in the memory." : "Remembered.";
}

function fullError(memory: string, most: number): ToolError {
  const room = `${sizeOf(memory)} of ${most} bytes are used`;
  return new ToolError(
    `the memory is full (${room}). Forget what is no longer needed, or replace several entries by a shorter one. It holds:\n${truncate(memory, MAX_MEMORY)}`,
  );
}

async function note(notes: Notes, line: string, now: Date): Promise<string> {
  const date = localDay(now);
  await notes.change(dayFile(date), (before) => {
    const after = withLine(before === "" ? `# ${date}\n` : before, `- ${localClock(now)} ${line}`);
    if (sizeOf(after) <= MAX_DAY) return after;
    throw new ToolError(`the notes of ${date} are full (${MAX_DAY} bytes)`);
  });
  return `Noted for ${date}.`;
}

async function forget(notes: Notes, { path }: Book, line: string): Promise<string> {
  let removed: readonly string[] = [];
  await notes.change(path, (before) => {
    const without = withoutEntries(before, line.toLowerCase());
    removed = without.removed;
    return without.text;
  });
  if (removed.length === 0) throw new ToolError("no entry of the memory contains that text");
  const list = removed.map((entry) => `- ${truncate(entry, 200)}`).join("\n");
  return truncate(`Forgotten:\n${list}`, 4_000);
}

/** The text without the entries that contain these words, and those entries. */
function withoutEntries(
  before: string,
  words: string,
): { readonly text: string; readonly removed: readonly string[] } {
  const remaining: string[] = [];
  const removed: string[] = [];
  let isRemoved = false;
  for (const row of before.split("\n")) {
    const entry = entryOf(row);
    if (entry !== undefined) isRemoved = entry.toLowerCase().includes(words);
    // An entry continues in the indented rows below it.
    else if (!/^[ \t]+\S/.test(row)) isRemoved = false;
    if (isRemoved && entry !== undefined) removed.push(entry);
    if (!isRemoved) remaining.push(row);
  }
  return { text: remaining.join("\n"), removed };
}

async function read(notes: Notes, book: Book, days: readonly string[]): Promise<string> {
  const shared = (await notes.read(SHARED.path)).trim();
  const own = book === SHARED ? "" : (await notes.read(book.path)).trim();
  const parts = [bothMemories(own, shared)];
  let isMissing = false;
  for (const date of days) {
    const text = (await notes.read(dayFile(date))).trim();
    isMissing ||= text === "";
    parts.push(text === "" ? `There are no notes of ${date}.` : `Notes of ${date}:\n${text}`);
  }
  if (isMissing)
    parts.push(`Days with notes: ${(await daysWithNotes(notes)).join(", ") || "none"}.`);
  return parts.join("\n\n");
}

/** The newest days with notes, newest first. */
async function daysWithNotes(notes: Notes): Promise<string[]> {
  const days: string[] = [];
  const months = await notes.names("memory");
  for (const month of months.filter(isMonth).toReversed()) {
    const names = await notes.names(`memory/${month}`);
    const found = names.map((name) => dayOf(month, name)).filter((day) => day !== undefined);
    days.push(...found.toReversed());
    if (days.length >= MAX_DAYS_LISTED) break;
  }
  return days.slice(0, MAX_DAYS_LISTED);
}

/** The text of a bullet; undefined for any other row. */
function entryOf(row: string): string | undefined {
  return /^[ \t]*[-*+][ \t]+(.*)$/.exec(row)?.[1]?.trim();
}

/** One line without control, invisible and direction-changing characters, and without a bullet. */
function oneLine(text: string): string {
  return text
    .toWellFormed()
    .replace(/\s+/g, " ")
    .replace(/[\p{Cc}\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]/gu, "")
    .trim()
    .replace(/^(?:[-*+] +)+/, "");
}

function withLine(text: string, line: string): string {
  return `${text}${text.endsWith("\n") ? "" : "\n"}${line}\n`;
}

function sizeOf(text: string): number {
  return Buffer.byteLength(text);
}
