/** A turn that was read. */
export interface ReadTurn<M> {
  readonly id: number;
  readonly at: number;
  readonly messages: readonly M[];
  /** Of its JSON. */
  readonly characters: number;
}

/** Characters of JSON whose messages stay in memory. */
const MAX_CHARACTERS = 2 ** 20;

interface RecentHistory<M> {
  /** The last turn that a compaction hides. */
  readonly through: number;
  readonly turns: readonly ReadTurn<M>[];
  readonly characters: number;
}

/**
 * The newest turns of the conversations that were read last: while a conversation goes on, only its new turns are
 * read and parsed. Turns never change; whoever deletes some calls `clear`.
 */
export class RecentTurns<M> {
  /** The conversation that was read longest ago is the first. */
  readonly #histories = new Map<string, RecentHistory<M>>();
  #characters = 0;
  #version = 0;

  /**
   * The turns of a conversation after `through`, newest first; none if they are not known. `version` changes with
   * each write of another connection.
   */
  get(name: string, through: number, version: number): readonly ReadTurn<M>[] {
    if (version !== this.#version) this.clear();
    this.#version = version;
    const history = this.#histories.get(name);
    return history?.through === through ? history.turns : [];
  }

  /** Takes the turns after `through`, newest first. */
  set(name: string, through: number, turns: readonly ReadTurn<M>[]): void {
    let characters = 0;
    for (const turn of turns) characters += turn.characters;
    this.#characters += characters - (this.#histories.get(name)?.characters ?? 0);
    this.#histories.delete(name);
    this.#histories.set(name, { through, turns, characters });
    for (const [oldest, history] of this.#histories) {
      if (this.#characters <= MAX_CHARACTERS) return;
      this.#histories.delete(oldest);
      this.#characters -= history.characters;
    }
  }

  clear(): void {
    this.#histories.clear();
    this.#characters = 0;
  }
}
