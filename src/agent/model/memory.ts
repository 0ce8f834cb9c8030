import { createHash } from "node:crypto";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { at, textAt } from "../../base/unknown.ts";
import type { AgentDefaults, ModelEntry } from "../../config/contract.ts";
import type { Endpoint } from "./endpoint.ts";

/** Where what is learned about models outlives the process. One document of plain data. */
export interface LearnedStore {
  /** The document as it was written last, by any process; undefined if there is none. */
  read(): Promise<unknown>;
  write(document: unknown): Promise<void>;
}

/** What was learned about one entry of `model_list`; plain data by name. */
export interface EntryMemory {
  /** Reads what former processes learned; undefined once that is done. Never rejects. */
  load(): Promise<void> | undefined;
  get(part: string): unknown;
  /** Remembers a part for later processes. */
  set(part: string, value: unknown): void;
}

/** The stored record of one entry. */
interface EntryRecord {
  /** Of the configuration for which it was learned. */
  readonly digest: string;
  /** Milliseconds since the epoch of the last change. */
  readonly at: number;
  readonly parts: Readonly<Record<string, unknown>>;
}

/** Entries in the document; the oldest are dropped. */
const MOST_ENTRIES = 64;
/** A server may have changed after that. */
const LONGEST_MS = 30 * 24 * 60 * 60_000;

/** Remembers what is learned about entries. Reads with the first call of a model, and writes when something changes. */
export class ModelMemory {
  readonly #store: LearnedStore | undefined;
  readonly #log: Log;
  readonly #entries = new Map<string, EntryRecord>();
  readonly #changed = new Set<string>();
  #isLoaded = false;
  #loading: Promise<void> | undefined;
  #saving: Promise<void> | undefined;

  constructor(store: LearnedStore | undefined, log: Log) {
    this.#store = store;
    this.#log = log;
  }

  /** The memory of an entry, by provider, base and model. It is empty after a change of the entry. */
  entry(
    entry: ModelEntry,
    { protocol, base, model }: Endpoint,
    { max_tokens, temperature, context_window }: AgentDefaults,
  ): EntryMemory {
    const name = hashOf([protocol, base, model]);
    // Its secrets are masks in JSON.
    const digest = hashOf([entry, max_tokens, temperature, context_window]);
    const parts = (): EntryRecord["parts"] => {
      const record = this.#entries.get(name);
      return record?.digest === digest ? record.parts : {};
    };
    return {
      load: () => this.load(),
      get: (part) => parts()[part],
      set: (part, value) => {
        if (JSON.stringify(parts()[part]) === JSON.stringify(value)) return;
        this.#entries.set(name, { digest, at: Date.now(), parts: { ...parts(), [part]: value } });
        this.#changed.add(name);
        if (this.#store !== undefined) this.#saving ??= this.#save();
      },
    };
  }

  /** Resolves when everything is written. */
  async close(): Promise<void> {
    while (this.#saving !== undefined) await this.#saving;
  }

  /** Reads what former processes learned; undefined once that is done. Never rejects. */
  load(): Promise<void> | undefined {
    if (this.#isLoaded || this.#store === undefined) return undefined;
    this.#loading ??= this.#read().then(() => void (this.#isLoaded = true));
    return this.#loading;
  }

  /** Takes the records that this process has not changed. */
  async #read(): Promise<void> {
    try {
      const document = await this.#store?.read();
      for (const [name, record] of Object.entries(Object(at(document, "entries")))) {
        if (isRecord(record) && !this.#changed.has(name)) this.#entries.set(name, record);
      }
    } catch (thrown) {
      this.#log.debug("what was learned about models cannot be read", why(thrown));
    }
  }

  async #save(): Promise<void> {
    // Changes of one go are written once.
    await Promise.resolve();
    try {
      // Another process may have written meanwhile.
      await this.#read();
      const oldest = Date.now() - LONGEST_MS;
      const entries = [...this.#entries]
        .filter(([, record]) => record.at > oldest)
        .toSorted(([, left], [, right]) => right.at - left.at)
        .slice(0, MOST_ENTRIES);
      await this.#store?.write({ v: 1, entries: Object.fromEntries(entries) });
    } catch (thrown) {
      this.#log.debug("what was learned about models cannot be written", why(thrown));
    } finally {
      this.#saving = undefined;
    }
  }
}

function why(thrown: unknown): { readonly why: string } {
  const failure = asFailure(thrown);
  return { why: failure.why ?? failure.message };
}

/** A hash: bases and fields of an entry may hold secrets. */
function hashOf(values: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(values)).digest("base64url").slice(0, 22);
}

function isRecord(value: unknown): value is EntryRecord {
  const written = at(value, "at");
  const parts = at(value, "parts");
  const isDated = typeof written === "number" && written > Date.now() - LONGEST_MS;
  return isDated && textAt(value, "digest") !== "" && typeof parts === "object" && parts !== null;
}
