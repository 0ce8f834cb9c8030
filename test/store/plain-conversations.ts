import type {
  Conversation,
  ConversationInfo,
  ImportedConversation,
  StoredTurn,
} from "../../src/store/contract/conversations.ts";
import type { StoreOptions } from "../../src/store/contract/store.ts";
import { turnsOverLimit } from "../../src/store/retention.ts";

interface Turn extends StoredTurn<string> {
  readonly bytes: number;
}

interface Plain {
  readonly turns: readonly Turn[];
  /** Turns up to this one are hidden. */
  readonly through: number;
  readonly summary: string | undefined;
  /** When it was summarized. */
  readonly summarizedAt?: number;
}

const EMPTY: Plain = { turns: [], through: 0, summary: undefined };

/** The conversations of a store as plain lists, without the limits of all conversations together. */
export class PlainConversations {
  readonly #options: Pick<StoreOptions, "now" | "bounds">;
  readonly #all = new Map<string, Plain>();
  #last = 0;

  constructor(options: Pick<StoreOptions, "now" | "bounds">) {
    this.#options = options;
  }

  history(name: string): readonly string[] {
    const { summary, turns } = this.conversation(name);
    const shown: (readonly string[])[] = [];
    let count = 0;
    for (const { messages } of turns.toReversed()) {
      count += messages.length;
      if (shown.length > 0 && count > this.#options.bounds.messages) break;
      shown.unshift(messages);
    }
    return summary === undefined ? shown.flat() : [summary, ...shown.flat()];
  }

  conversation(name: string): Conversation<string> {
    const { turns, through, summary } = this.#all.get(name) ?? EMPTY;
    const shown = turns.filter(({ id }) => id > through);
    return {
      turns: shown.map(({ id, messages }) => ({ id, messages })),
      ...(summary !== undefined && { summary }),
    };
  }

  append(name: string, messages: readonly string[], forgets = false): void {
    const before = this.#all.get(name) ?? EMPTY;
    const added = messages.length === 0 ? [] : [this.#turn(messages, this.#options.now())];
    const turns = added.length === 0 ? before.turns : this.#limited([...before.turns, ...added]);
    if (added.length > 0) this.#all.set(name, { ...before, turns });
    if (forgets) this.#forget(name, turns);
  }

  compact(name: string, through: number, summary?: string): boolean {
    const plain = this.#all.get(name);
    if (plain === undefined || through <= plain.through) return false;
    if (!plain.turns.some(({ id }) => id === through)) return false;
    this.#all.set(name, { ...plain, through, summary, summarizedAt: this.#options.now() });
    return true;
  }

  importConversation(name: string, { turns, summary }: ImportedConversation<string>): boolean {
    if (this.#all.has(name)) return false;
    let imported: readonly Turn[] = [];
    for (const { messages, at = this.#options.now() } of turns) {
      imported = this.#limited([...imported, this.#turn(messages, at)]);
    }
    const summarizedAt = this.#options.now();
    this.#all.set(name, { turns: imported, through: 0, summary, summarizedAt });
    return true;
  }

  conversations(): readonly ConversationInfo[] {
    return [...this.#all]
      .filter(([, { turns, summary }]) => turns.length > 0 || summary !== undefined)
      .map(([name, { turns, summary, summarizedAt = 0 }]) => {
        // Without turns, the time of the summary stands for theirs.
        const times = turns.length === 0 ? [summarizedAt] : turns.map(({ at }) => at);
        return {
          name,
          turns: turns.length,
          messages: turns.reduce((total, { messages }) => total + messages.length, 0),
          bytes: turns.reduce((total, { bytes }) => total + bytes, 0),
          firstAt: Math.min(...times),
          lastAt: Math.max(...times),
          summarized: summary !== undefined,
        };
      })
      .toSorted((a, b) => b.lastAt - a.lastAt || (a.name < b.name ? -1 : 1));
  }

  transcript(name: string): readonly StoredTurn<string>[] {
    const { turns } = this.#all.get(name) ?? EMPTY;
    return turns.map(({ id, at, messages }) => ({ id, at, messages }));
  }

  erase(name: string): number {
    const { turns } = this.#all.get(name) ?? EMPTY;
    this.#forget(name, turns);
    const { through = 0 } = this.#all.get(name) ?? {};
    this.#all.set(name, { turns: [], through, summary: undefined });
    return turns.length;
  }

  purge(): void {
    const { now, bounds } = this.#options;
    for (const [name, plain] of this.#all) {
      const turns = plain.turns.filter(
        ({ id, at }, index) =>
          id > plain.through ||
          (at > now() - bounds.hiddenMs && plain.turns.length - index <= bounds.hiddenTurns),
      );
      this.#all.set(name, { ...plain, turns });
    }
  }

  #turn(messages: readonly string[], at: number): Turn {
    this.#last += 1;
    return { id: this.#last, at, messages, bytes: Buffer.byteLength(JSON.stringify(messages)) };
  }

  #limited(turns: readonly Turn[]): readonly Turn[] {
    const over = turnsOverLimit(turns, this.#options.bounds, this.#options.now());
    return turns.filter(({ id }) => !over.has(id));
  }

  #forget(name: string, turns: readonly Turn[]): void {
    const before = this.#all.get(name) ?? EMPTY;
    const through = Math.max(before.through, turns.at(-1)?.id ?? 0);
    this.#all.set(name, { turns, through, summary: undefined });
  }
}
