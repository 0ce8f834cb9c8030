export interface ConversationsOptions {
  /** Milliseconds. */
  readonly now: () => number;
  /** Messages of one conversation; whole turns go, the oldest first, and the last one always stays. */
  readonly messages: number;
  /** Conversations; the one longest without a turn goes first. */
  readonly conversations: number;
  /** Size of all of them together, in characters of their JSON. */
  readonly characters: number;
  readonly idleMs: number;
}

/** What was said with each client, as long as it is worth the memory. */
export interface Conversations<M> {
  /** Oldest message first; begins with the first message of a turn. */
  history(lane: string): readonly M[];
  /** Remembers one whole turn. `M` is plain data. */
  append(lane: string, messages: readonly M[]): void;
}

interface Turn<M> {
  readonly messages: readonly M[];
  readonly characters: number;
}

interface Conversation<M> {
  readonly turns: readonly Turn<M>[];
  readonly characters: number;
  readonly at: number;
}

/** A quarter of all the room is the most that one conversation can take from the others. */
const SHARE = 4;

/** Conversations in memory. The idle ones go when the next request comes: no timer is needed. */
export function createConversations<M>(options: ConversationsOptions): Conversations<M> {
  const { now, conversations, characters, idleMs } = options;
  /** In the order of their last turns, so that the front is the first to go. */
  const kept = new Map<string, Conversation<M>>();
  let held = 0;

  const drop = (lane: string): void => {
    held -= kept.get(lane)?.characters ?? 0;
    kept.delete(lane);
  };
  const dropOld = (): void => {
    for (const [lane, { at }] of kept) {
      const fits = kept.size <= conversations && held <= characters;
      if (fits && now() - at < idleMs) return;
      drop(lane);
    }
  };

  return {
    history(lane) {
      dropOld();
      return (kept.get(lane)?.turns ?? []).flatMap(({ messages }) => messages);
    },
    append(lane, messages) {
      const turn = { messages, characters: JSON.stringify(messages).length };
      const turns = latest([...(kept.get(lane)?.turns ?? []), turn], {
        messages: options.messages,
        characters: characters / SHARE,
      });
      drop(lane);
      const size = sum(turns.map((each) => each.characters));
      kept.set(lane, { turns, characters: size, at: now() });
      held += size;
      dropOld();
    },
  };
}

interface Room {
  readonly messages: number;
  readonly characters: number;
}

function latest<M>(turns: readonly Turn<M>[], room: Room): readonly Turn<M>[] {
  let { messages, characters } = room;
  const first = turns.findLastIndex((turn) => {
    messages -= turn.messages.length;
    characters -= turn.characters;
    return messages < 0 || characters < 0;
  });
  return turns.slice(Math.min(first + 1, turns.length - 1));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
