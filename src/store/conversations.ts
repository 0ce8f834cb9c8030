import type { SyncConversations } from "./async-conversations.ts";
import type {
  ImportedConversation,
  Conversation,
  ConversationInfo,
  StoreBounds,
  StoredTurn,
} from "./contract.ts";
import {
  createSizeBudget,
  LISTED_CONVERSATIONS,
  turnsBeyond,
  SUMMARY_LIMITS,
} from "./size-budget.ts";
import type { TurnSize } from "./size-budget.ts";

export interface ConversationsOptions extends TurnSize {
  /** Milliseconds. */
  readonly now: () => number;
  /** What `history` gives of one, and how long what a cut hides is kept. */
  readonly bounds: Pick<
    StoreBounds,
    | "messages"
    | "characters"
    | "hiddenMs"
    | "hiddenTurns"
    | "hiddenBytes"
    | "turnBytes"
    | "turnBytesPerDay"
  >;
  /** Conversations; the one longest without a turn goes first. */
  readonly conversations: number;
  readonly idleMs: number;
}

interface Turn<M> extends StoredTurn<M> {
  readonly characters: number;
  readonly bytes: number;
}

interface Kept<M> {
  readonly turns: readonly Turn<M>[];
  /** Turns up to this one are hidden. */
  readonly through: number;
  readonly summary: M | undefined;
  /** When something was said in it last. */
  readonly at: number;
}

/** A quarter of all the room is the most that one conversation can take from the others. */
const SHARE = 4;

/**
 * What was said with each client, as long as it is worth the memory: the JSON of all together has
 * `characters` at most, one has `messages` at most, and its last turn always stays. The idle ones go when the next request comes: no timer is needed.
 */
export function createConversations<M>(options: ConversationsOptions): SyncConversations<M> {
  return new MemoryConversations(options);
}

class MemoryConversations<M> implements SyncConversations<M> {
  readonly #options: ConversationsOptions;
  /** In the order of their last turns, so that the front is the first to go. */
  readonly #kept = new Map<string, Kept<M>>();
  #held = 0;
  #last = 0;

  constructor(options: ConversationsOptions) {
    this.#options = options;
  }

  readonly history = (lane: string): readonly M[] => {
    this.#dropOld();
    const { summary, turns } = this.#shown(lane);
    const fits = createSizeBudget(this.#options.bounds);
    const first = turns.findLastIndex((turn) => !fits(sizeOf(turn)));
    const said = turns.slice(first + 1).flatMap(({ messages }) => messages);
    return summary === undefined ? said : [summary, ...said];
  };

  readonly conversation = (lane: string): Conversation<M> => {
    const { summary, turns } = this.#shown(lane);
    const shown = asFits(turns, SUMMARY_LIMITS).map(({ id, messages }) => ({ id, messages }));
    return { turns: shown, ...(summary !== undefined && { summary }) };
  };

  readonly append = (lane: string, messages: readonly M[], forgets = false): void => {
    if (messages.length === 0 && !forgets) return;
    const at = this.#options.now();
    const kept = this.#kept.get(lane) ?? EMPTY;
    const turns = messages.length === 0 ? [] : [this.#turn(messages, at)];
    this.#keep(lane, { ...kept, turns: this.#bounded([...kept.turns, ...turns]), at });
    if (forgets) this.#forget(lane);
  };

  readonly compact = (lane: string, through: number, summary?: M): boolean => {
    const kept = this.#kept.get(lane);
    if (kept === undefined || through <= kept.through) return false;
    if (!kept.turns.some(({ id }) => id === through)) return false;
    this.#kept.set(lane, { ...kept, through, summary });
    return true;
  };

  readonly importConversation = (
    lane: string,
    { turns, summary }: ImportedConversation<M>,
  ): boolean => {
    if (this.#kept.has(lane)) return false;
    const now = this.#options.now();
    let adopted: readonly Turn<M>[] = [];
    for (const { messages, at = now } of turns) {
      adopted = this.#bounded([...adopted, this.#turn(messages, at)]);
    }
    this.#keep(lane, { turns: adopted, through: 0, summary, at: now });
    return true;
  };

  readonly conversations = (): readonly ConversationInfo[] =>
    [...this.#kept]
      .filter(([, { turns, summary }]) => turns.length > 0 || summary !== undefined)
      .map(sessionOf)
      .toSorted((a, b) => b.lastAt - a.lastAt || (a.lane < b.lane ? -1 : 1))
      .slice(0, LISTED_CONVERSATIONS);

  readonly page = (lane: string, after: number): readonly StoredTurn<M>[] =>
    (this.#kept.get(lane)?.turns ?? [])
      .filter(({ id }) => id > after)
      .map(({ id, at, messages }) => ({ id, at, messages }));

  readonly erase = (lane: string): number => {
    const { turns, through } = this.#kept.get(lane) ?? EMPTY;
    const at = this.#options.now();
    const end = turns.at(-1)?.id ?? through;
    // What is left says that it was deleted, so that it is not taken over from elsewhere again.
    this.#keep(lane, { turns: [], through: end, summary: undefined, at });
    return turns.length;
  };

  readonly purge = (): void => {
    const { hiddenMs, hiddenTurns, hiddenBytes } = this.#options.bounds;
    const old = this.#options.now() - hiddenMs;
    const newest = [...this.#kept.values()]
      .flatMap(({ turns }) => turns)
      .toSorted((a, b) => b.id - a.id);
    let held = 0;
    const beyond = new Set(newest.filter(({ bytes }) => (held += bytes) > hiddenBytes));
    for (const [lane, kept] of this.#kept) {
      const turns = kept.turns.filter(
        (turn, index) =>
          turn.id > kept.through ||
          (turn.at > old && kept.turns.length - index <= hiddenTurns && !beyond.has(turn)),
      );
      this.#held -= charactersOf(kept.turns) - charactersOf(turns);
      this.#kept.set(lane, { ...kept, turns });
    }
  };

  #turn(messages: readonly M[], at: number): Turn<M> {
    this.#last += 1;
    const text = JSON.stringify(messages);
    const bytes = Buffer.byteLength(text);
    return { id: this.#last, at, messages, characters: text.length, bytes };
  }

  #bounded(turns: readonly Turn<M>[]): readonly Turn<M>[] {
    const { bounds, now } = this.#options;
    const beyond = turnsBeyond(turns, bounds, now());
    return beyond.size === 0 ? turns : turns.filter(({ id }) => !beyond.has(id));
  }

  /** What a cut left to show. */
  #shown(lane: string): Pick<Kept<M>, "summary" | "turns"> {
    const { turns, through, summary } = this.#kept.get(lane) ?? EMPTY;
    return { turns: turns.filter(({ id }) => id > through), summary };
  }

  /** As the conversation that was used last, with as many of its latest turns as there is room for. */
  #keep(lane: string, kept: Kept<M>): void {
    const { messages, characters } = this.#options;
    const fits = createSizeBudget({ messages, characters: characters / SHARE });
    const first = kept.turns.findLastIndex((turn) => !fits(sizeOf(turn)));
    const turns = kept.turns.slice(first + 1);
    this.#drop(lane);
    this.#kept.set(lane, { ...kept, turns });
    this.#held += charactersOf(turns);
    this.#dropOld();
  }

  #forget(lane: string): void {
    const kept = this.#kept.get(lane);
    if (kept === undefined) return;
    const through = Math.max(kept.through, kept.turns.at(-1)?.id ?? 0);
    this.#kept.set(lane, { ...kept, through, summary: undefined });
  }

  #drop(lane: string): void {
    this.#held -= charactersOf(this.#kept.get(lane)?.turns ?? []);
    this.#kept.delete(lane);
  }

  #dropOld(): void {
    const { now, conversations, characters, idleMs } = this.#options;
    for (const [lane, { at }] of this.#kept) {
      const fits = this.#kept.size <= conversations && this.#held <= characters;
      if (fits && now() - at < idleMs) return;
      this.#drop(lane);
    }
  }
}

const EMPTY = { turns: [], through: 0, summary: undefined };

function asFits<M>(turns: readonly Turn<M>[], room: TurnSize): readonly Turn<M>[] {
  const fits = createSizeBudget(room);
  const end = turns.findIndex((turn) => !fits(sizeOf(turn)));
  return end === -1 ? turns : turns.slice(0, end);
}

function sizeOf<M>({ messages, characters }: Turn<M>): TurnSize {
  return { messages: messages.length, characters };
}

function charactersOf<M>(turns: readonly Turn<M>[]): number {
  return turns.reduce((total, { characters }) => total + characters, 0);
}

function sessionOf<M>([lane, { turns, summary, at }]: [string, Kept<M>]): ConversationInfo {
  const times = turns.map((turn) => turn.at);
  return {
    lane,
    turns: turns.length,
    messages: turns.reduce((total, { messages }) => total + messages.length, 0),
    bytes: turns.reduce((total, { bytes }) => total + bytes, 0),
    firstAt: times.length === 0 ? at : Math.min(...times),
    lastAt: times.length === 0 ? at : Math.max(...times),
    summarized: summary !== undefined,
  };
}
