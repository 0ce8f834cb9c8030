export interface ReplyQueueOptions<Reply> {
  /** Replies under way to one client, and to all. */
  readonly perLane: number;
  readonly inAll: number;
  /** How many places one takes while it waits. */
  readonly placesOf: (reply: Reply) => number;
  /** Must not reject. */
  readonly deliver: (reply: Reply) => Promise<void>;
  /** Is called when one has ended. */
  readonly onRoom: () => void;
}

/** Replies outside of the request lanes: several at a time to one client, and clients in turn. */
export interface ReplyQueue<Reply> {
  add(lane: string, reply: Reply): void;
  /** Places of those of a lane that did not begin. */
  waiting(lane: string): number;
  /** Places of those that did not begin, of all. */
  readonly size: number;
  /** What waits is not begun any more; what comes and may begin at once still is. */
  close(): void;
}

interface Lane<Reply> {
  readonly queue: Reply[];
  /** Of those in the queue. */
  places: number;
  underWay: number;
}

/** Lanes without a reply. */
export function createReplyQueue<Reply>(options: ReplyQueueOptions<Reply>): ReplyQueue<Reply> {
  return new RoundRobinReplies(options);
}

class RoundRobinReplies<Reply> implements ReplyQueue<Reply> {
  readonly #options: ReplyQueueOptions<Reply>;
  readonly #lanes = new Map<string, Lane<Reply>>();
  /** Lanes with replies that wait and places that are free, in the order of their turns. */
  readonly #ready = new Set<string>();
  #underWay = 0;
  #isClosed = false;
  size = 0;

  constructor(options: ReplyQueueOptions<Reply>) {
    this.#options = options;
  }

  add(name: string, reply: Reply): void {
    const lane = this.#lanes.get(name) ?? { queue: [], places: 0, underWay: 0 };
    const isFree = lane.queue.length === 0 && lane.underWay < this.#options.perLane;
    if (this.#isClosed && !(isFree && this.#underWay < this.#options.inAll)) return;
    this.#lanes.set(name, lane);
    lane.queue.push(reply);
    this.#take(lane, this.#options.placesOf(reply));
    this.#look(name, lane);
    this.#pump();
  }

  waiting(name: string): number {
    return this.#lanes.get(name)?.places ?? 0;
  }

  close(): void {
    this.#isClosed = true;
    this.size = 0;
    this.#ready.clear();
    for (const lane of this.#lanes.values()) {
      lane.queue.length = 0;
      lane.places = 0;
    }
  }

  #take(lane: Lane<Reply>, places: number): void {
    lane.places += places;
    this.size += places;
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
      this.#take(lane, -this.#options.placesOf(reply));
      lane.underWay += 1;
      this.#underWay += 1;
      this.#look(name, lane);
      void this.#options.deliver(reply).finally(() => {
        lane.underWay -= 1;
        this.#underWay -= 1;
        this.#look(name, lane);
        this.#pump();
        this.#options.onRoom();
      });
    }
  }
}
