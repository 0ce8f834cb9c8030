export interface ReplyQueueOptions<Reply> {
  /** Replies in flight to one client, and to all. */
  readonly perLane: number;
  readonly inAll: number;
  /** How much a reply counts while it waits. */
  readonly weightOf: (reply: Reply) => number;
  /** Must not reject. */
  readonly deliver: (reply: Reply) => Promise<void>;
  /** Called when a reply has ended. */
  readonly onRoom: () => void;
}

interface Lane<Reply> {
  readonly queue: Reply[];
  /** Weight of the replies in the queue. */
  weight: number;
  inFlight: number;
}

/** Replies outside of the request lanes: several at a time to one client, round robin between clients. */
export class ReplyQueue<Reply> {
  readonly #options: ReplyQueueOptions<Reply>;
  readonly #lanes = new Map<string, Lane<Reply>>();
  /** Lanes with waiting replies that may have one more in flight, in the order of their turns. */
  readonly #ready = new Set<string>();
  #inFlight = 0;
  #isClosed = false;
  /** Weight of all waiting replies. */
  size = 0;

  constructor(options: ReplyQueueOptions<Reply>) {
    this.#options = options;
  }

  add(name: string, reply: Reply): void {
    const lane = this.#lanes.get(name) ?? { queue: [], weight: 0, inFlight: 0 };
    const isFree = lane.queue.length === 0 && lane.inFlight < this.#options.perLane;
    if (this.#isClosed && !(isFree && this.#inFlight < this.#options.inAll)) return;
    this.#lanes.set(name, lane);
    lane.queue.push(reply);
    this.#addWeight(lane, this.#options.weightOf(reply));
    this.#update(name, lane);
    this.#pump();
  }

  /** Weight of the lane's waiting replies. */
  waiting(name: string): number {
    return this.#lanes.get(name)?.weight ?? 0;
  }

  /** Drops the waiting replies. A new reply is only started when it need not wait. */
  close(): void {
    this.#isClosed = true;
    this.size = 0;
    this.#ready.clear();
    for (const lane of this.#lanes.values()) {
      lane.queue.length = 0;
      lane.weight = 0;
    }
  }

  #addWeight(lane: Lane<Reply>, weight: number): void {
    lane.weight += weight;
    this.size += weight;
  }

  #update(name: string, lane: Lane<Reply>): void {
    if (lane.queue.length > 0 && lane.inFlight < this.#options.perLane) this.#ready.add(name);
    else if (lane.queue.length === 0 && lane.inFlight === 0) this.#lanes.delete(name);
  }

  #pump(): void {
    while (this.#inFlight < this.#options.inAll) {
      const [name] = this.#ready;
      if (name === undefined) return;
      this.#ready.delete(name);
      const lane = this.#lanes.get(name);
      const reply = lane?.queue.shift();
      if (lane === undefined || reply === undefined) continue;
      this.#addWeight(lane, -this.#options.weightOf(reply));
      lane.inFlight += 1;
      this.#inFlight += 1;
      this.#update(name, lane);
      void this.#options.deliver(reply).finally(() => {
        lane.inFlight -= 1;
        this.#inFlight -= 1;
        this.#update(name, lane);
        this.#pump();
        this.#options.onRoom();
      });
    }
  }
}
