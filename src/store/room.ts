/** Room for turns; the characters are those of their JSON. */
export interface Room {
  readonly messages: number;
  readonly characters: number;
}

/** What `conversation` gives of one at once: enough to summarize it, and no more than a small board can hold. */
export const WHOLE: Room = { messages: 2000, characters: 8 * 2 ** 20 };

/** Conversations that `sessions` tells of. */
export const SESSIONS = 20_000;

/** Takes turns one after another as long as they fit, and the first one always. */
export function createRoom({ messages, characters }: Room): (turn: Room) => boolean {
  const left = { messages, characters };
  let isFirst = true;
  return (turn) => {
    left.messages -= turn.messages;
    left.characters -= turn.characters;
    const fits = isFirst || (left.messages >= 0 && left.characters >= 0);
    isFirst = false;
    return fits;
  };
}
