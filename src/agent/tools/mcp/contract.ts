/** Documents of JSON by name, which outlive the process. Only this program's user can read them. */
export interface McpDocuments {
  /** Undefined if there is none. Rejects with the errors of the file system and of JSON. */
  readonly read: (name: string) => Promise<unknown>;
  /** Rejects with the errors of the file system. */
  readonly write: (name: string, document: object) => Promise<void>;
  /** Removes it, if there is one. Rejects with the errors of the file system. */
  readonly remove: (name: string) => Promise<void>;
}

/** Learns secrets, to mask them; under a name only the last ones count. */
export type Learn = (secrets: Iterable<string>, name?: string) => void;
