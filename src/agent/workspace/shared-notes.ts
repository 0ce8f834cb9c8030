import { Failure, messageOf } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { clientMemoryFile } from "./client-memory.ts";
import type { DayNotes, Notes, Workspace, WorkspaceTexts } from "./contract.ts";
import { dayOf, isMonth } from "./notes.ts";
import { limitTexts, MAX_DAYS } from "./workspace.ts";

/** A table of texts that several gateways write: `NoteStore` fits by structure. */
export interface NoteTable {
  notes(prefix: string): Promise<readonly NoteInfo[]>;
  note(name: string): Promise<(NoteInfo & { readonly text: string }) | undefined>;
  writeNote(name: string, text: string, version: number): Promise<number | undefined>;
  useNote(name: string): Promise<void>;
  eraseNote(name: string): Promise<void>;
}

interface NoteInfo {
  readonly name: string;
  readonly version: number;
  readonly usedAt: number;
}

/** Milliseconds for which the list of the notes is relied on. */
const FRESH_MS = 2000;
const DAY_MS = 86_400_000;
/** Each time, another gateway changed the note in the milliseconds between a read and a write. */
const TRIES = 20;
/** Characters of the texts in memory. */
const CACHED = 4 * 2 ** 20;

/** Notes that several gateways share. */
export class SharedNotes implements Notes {
  readonly #table: NoteTable;
  readonly #clock: () => number;
  /** By path. */
  #list = new Map<string, NoteInfo>();
  #listedAt = Number.NEGATIVE_INFINITY;
  #listing: Promise<void> | undefined;
  /** Texts as they were read, by path. */
  readonly #texts = new Map<string, { readonly version: number; readonly text: string }>();
  #cached = 0;

  /** `clock` is in milliseconds and never jumps. */
  constructor(table: NoteTable, clock: () => number = () => performance.now()) {
    this.#table = table;
    this.#clock = clock;
  }

  async read(path: string): Promise<string> {
    const { version } = (await this.#listed()).get(path) ?? {};
    if (version === undefined) return "";
    const cached = this.#texts.get(path);
    if (cached?.version === version) return cached.text;
    const note = await this.#table.note(path);
    if (note === undefined) return "";
    this.#keep(note, note.text);
    return note.text;
  }

  async change(path: string, change: (before: string) => string): Promise<void> {
    for (let tries = 0; tries < TRIES; tries += 1) {
      const note = await this.#table.note(path);
      const before = note?.text ?? "";
      const after = change(before);
      if (after === before || (await this.#write(path, after, note?.version ?? 0))) return;
    }
    throw new Error(`${path} is changed by others again and again`);
  }

  async names(folder: string): Promise<readonly string[]> {
    const prefix = `${folder}/`;
    const below = [...(await this.#listed()).keys()].filter((path) => path.startsWith(prefix));
    return [...new Set(below.map((path) => path.slice(prefix.length).split("/", 1)[0] ?? ""))];
  }

  async usedAt(path: string): Promise<number> {
    return (await this.#listed()).get(path)?.usedAt ?? 0;
  }

  async use(path: string, now: Date): Promise<void> {
    if (now.getTime() - (await this.usedAt(path)) > DAY_MS) await this.#table.useNote(path);
  }

  async remove(path: string): Promise<void> {
    await this.#table.eraseNote(path);
    this.#list.delete(path);
  }

  /** False if another writer was faster. */
  async #write(path: string, text: string, version: number): Promise<boolean> {
    try {
      const written = await this.#table.writeNote(path, text, version);
      if (written === undefined) return false;
      this.#keep({ name: path, version: written, usedAt: Date.now() }, text);
      return true;
    } catch (thrown) {
      if (!(thrown instanceof Failure) || thrown.code !== "unsure") throw thrown;
      return (await this.#table.note(path))?.text === text;
    }
  }

  #keep(note: NoteInfo, text: string): void {
    const { name, version, usedAt } = note;
    this.#list.set(name, { name, version, usedAt });
    if (this.#cached > CACHED) {
      this.#texts.clear();
      this.#cached = 0;
    }
    this.#cached += text.length;
    this.#texts.set(name, { version, text });
  }

  async #listed(): Promise<ReadonlyMap<string, NoteInfo>> {
    if (this.#clock() - this.#listedAt >= FRESH_MS)
      await (this.#listing ??= this.#readList().finally(() => (this.#listing = undefined)));
    return this.#list;
  }

  async #readList(): Promise<void> {
    const at = this.#clock();
    const notes = await this.#table.notes("memory/");
    this.#list = new Map(notes.map((note) => [note.name, note]));
    this.#listedAt = at;
  }
}

/** A workspace whose notes are those of a store; the files in their place are not read. */
export function withSharedNotes(
  workspace: Workspace,
  { notes, now, log }: { readonly notes: Notes; readonly now: () => Date; readonly log: Log },
): Workspace {
  let last: { readonly parts: readonly unknown[]; readonly texts: WorkspaceTexts } | undefined;
  return {
    ...workspace,
    notes,
    async read() {
      const texts = await workspace.read();
      try {
        const [memory, days] = await Promise.all([
          notes.read("memory/MEMORY.md"),
          latestDays(notes),
        ]);
        const parts = [texts, memory, ...days.flatMap(({ date, text }) => [date, text])];
        const isSame =
          parts.length === last?.parts.length &&
          parts.every((part, index) => part === last?.parts[index]);
        if (!isSame || last === undefined)
          last = { parts, texts: limitTexts({ ...texts, memory: memory.trim(), days }) };
        return last.texts;
      } catch (error) {
        log.warn("the memory cannot be read; the turn uses what was read before", {
          why: messageOf(error),
        });
        return last?.texts ?? { ...texts, memory: "", days: [] };
      }
    },
    async own(owner) {
      const path = clientMemoryFile(owner);
      try {
        const text = await notes.read(path);
        if (text !== "") await notes.use(path, now());
        return text.trim();
      } catch (error) {
        log.warn("the memory of a client cannot be read", { why: messageOf(error) });
        return "";
      }
    },
  };
}

/** The notes of the newest days, oldest first. */
async function latestDays(notes: Notes): Promise<DayNotes[]> {
  const found: DayNotes[] = [];
  for (const month of (await notes.names("memory")).filter(isMonth).toReversed()) {
    for (const name of (await notes.names(`memory/${month}`)).toReversed()) {
      const date = dayOf(month, name);
      if (date === undefined) continue;
      const text = (await notes.read(`memory/${month}/${name}`)).trim();
      if (text !== "") found.unshift({ date, text });
      if (found.length === MAX_DAYS) return found;
    }
  }
  return found;
}

/**
 * Adds the notes in the files of a machine to the shared ones, entry by entry; what they have already is left
 * out. The files stay as they are. `mark` names the machine: a second call with it does nothing.
 */
export async function importNotes(
  from: Notes,
  to: Notes,
  mark: string,
): Promise<{ readonly files: number }> {
  const done = `memory/imported/${mark}`;
  if ((await to.names("memory/imported")).includes(mark)) return { files: 0 };
  let files = 0;
  for (const path of await notePaths(from)) {
    // A database refuses NUL.
    const text = (await from.read(path)).replaceAll("\0", "");
    if (text.trim() === "") continue;
    await to.change(path, (before) => merged(before, text));
    files += 1;
  }
  await to.change(done, () => `${files}\n`);
  return { files };
}

async function notePaths(notes: Notes): Promise<string[]> {
  const paths = ["memory/MEMORY.md"];
  for (const folder of await notes.names("memory")) {
    if (folder !== "clients" && !isMonth(folder)) continue;
    const names = await notes.names(`memory/${folder}`);
    paths.push(
      ...names.filter((name) => name.endsWith(".md")).map((name) => `memory/${folder}/${name}`),
    );
  }
  return paths;
}

/** The first text with the entries of the second that it lacks. */
function merged(before: string, more: string): string {
  if (before === "") return more;
  const known = new Set(entriesOf(before));
  const missing = entriesOf(more).filter((entry) => !known.has(entry));
  if (missing.length === 0) return before;
  return `${before.trimEnd()}\n${missing.join("\n")}\n`;
}

/** The rows of a text, each with the indented ones below it. */
function entriesOf(text: string): readonly string[] {
  const entries: string[] = [];
  for (const row of text.split("\n")) {
    const last = entries.length - 1;
    if (/^[ \t]+\S/.test(row) && last >= 0) entries[last] += `\n${row.trimEnd()}`;
    else if (row.trim() !== "") entries.push(row.trimEnd());
  }
  return entries;
}
