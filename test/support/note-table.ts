import type { NoteStore, StoredNote } from "../../src/store/contract/notes.ts";

/** The notes of a shared store, in memory. */
export function createNoteTable(now: () => number): NoteStore {
  const notes = new Map<string, StoredNote>();
  let versions = 0;
  return {
    notes: (prefix) =>
      Promise.resolve(
        [...notes.values()]
          .filter(({ name }) => name.startsWith(prefix))
          .map(({ name, version, usedAt }) => ({ name, version, usedAt }))
          .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      ),
    note: (name) => Promise.resolve(notes.get(name)),
    writeNote(name, text, version) {
      if ((notes.get(name)?.version ?? 0) !== version) return Promise.resolve(undefined);
      versions += 1;
      notes.set(name, { name, text, version: versions, usedAt: now() });
      return Promise.resolve(versions);
    },
    useNote(name) {
      const note = notes.get(name);
      if (note !== undefined) notes.set(name, { ...note, usedAt: now() });
      return Promise.resolve();
    },
    eraseNote(name) {
      notes.delete(name);
      return Promise.resolve();
    },
  };
}
