/**
 * Texts by name: what the agent keeps for later conversations. Only a store that several machines share has
 * them; on one machine they are files that its owner may edit.
 */
export interface NoteStore {
  /** Those whose name begins with `prefix`, sorted by name. */
  notes(prefix: string): Promise<readonly NoteInfo[]>;
  note(name: string): Promise<StoredNote | undefined>;
  /**
   * Writes a text in place of the one of that version, 0 if there is none. Returns its version; undefined,
   * and writes nothing, if another writer was faster.
   */
  writeNote(name: string, text: string, version: number): Promise<number | undefined>;
  /** It is used now. */
  useNote(name: string): Promise<void>;
  eraseNote(name: string): Promise<void>;
}

export interface NoteInfo {
  readonly name: string;
  /** Greater than 0; another one after each change, also if the note was deleted in between. */
  readonly version: number;
  /** When it was written or used last, in milliseconds since the epoch. */
  readonly usedAt: number;
}

export interface StoredNote extends NoteInfo {
  readonly text: string;
}
