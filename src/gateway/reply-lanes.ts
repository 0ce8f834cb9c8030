export interface ReplyLanesOptions<Reply> {
  /** Replies under way to one client, and to all. */
  readonly perLane: number;
  readonly inAll: number;
  /** Must not reject. */
  readonly give: (reply: Reply) => Promise<void>;
  /** Is called when one has ended. */
  readonly onRoom: () => void;
}

/** Replies outside of the request lanes: several at a time to one client, and clients in turn. */
export interface ReplyLanes<Reply> {
  add(lane: string, reply: Reply): void;
  /** How many of a lane did not begin. */
  waiting(lane: string): number;
  /** How many did not begin, of all. */
  readonly size: number;
  /** What waits is not begun any more; what comes and may begin at once still is. */
  close(): void;
}

interface Lane<Reply> {
  readonly queue: Reply[];
  underWay: number;
}

/** Lanes without a reply. */
export function createReplyLanes<Reply>(options: ReplyLanesOptions<Reply>): ReplyLanes<Reply> {
  return new RoundRobinReplies(options);
}

class RoundRobinReplies<Reply> implements ReplyLanes<Reply> {
  readonly #options: ReplyLanesOptions<Reply>;
  readonly #lanes = new Map<string, Lane<Reply>>();
  /** Lanes with replies that wait and places that are free, in the order of their turns. */
  readonly #ready = new Set<string>();
  #underWay = 0;
  #isClosed = false;
  size = 0;

  constructor(options: ReplyLanesOptions<Reply>) {
    this.#options = options;
  }

  add(name: string, reply: Reply): void {
    const lane = this.#lanes.get(name) ?? { queue: [], underWay: 0 };
    const isFree = lane.queue.length === 0 && lane.underWay < this.#options.perLane;
    if (this.#isClosed && !(isFree && this.#underWay < this.#options.inAll)) return;
    this.#lanes.set(name, lane);
    lane.queue.push(reply);
    this.size += 1;
    this.#look(name, lane);
    this.#pump();
  }

  waiting(name: string): number {
    return this.#lanes.get(name)?.queue.length ?? 0;
  }

  close(): void {
    this.#isClosed = true;
    this.size = 0;
    this.#ready.clear();
    for (const { queue } of this.#lanes.values()) queue.length = 0;
  }

  #look(name: string, lane: Lane<Reply>): void {
    if (lane.queue.length > 0 && lane.underWay < this.#options.perLane) this.#ready.add(name);
    else if (lane.queue.length === 0 && lane.underWay === 0) this.#lanes.delete(name);
  }

  #pump(): void {
    while (this.#underWay < this.#options.inAll) {
      const [name] = this.#ready;
      if (name === undefined) return;
      this.#ready.delete(name);
      const lane = this.#lanes.get(name);
      const reply = lane?.queue.shift();
      if (lane === undefined || reply === undefined) continue;
      this.size -= 1;
      lane.underWay += 1;
      this.#underWay += 1;
      this.#look(name, lane);
      void this.#options.give(reply).finally(() => {
        lane.underWay -= 1;
        this.#underWay -= 1;
        this.#look(name, lane);
        this.#pump();
        this.#options.onRoom();
      });
    }
  }
}
