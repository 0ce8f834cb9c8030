import type { Log } from "../../base/log.ts";
import type { Cluster } from "../../store/contract/cluster.ts";
import type { Store } from "../../store/contract/store.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import type { ReplyTo } from "../durable/recovery.ts";
import { LanePoller } from "./lane-poller.ts";
import type { PollerPorts } from "./lane-poller.ts";
import { guardedStore, Lease } from "./lease.ts";

export interface ClusterMemberOptions<M> {
  readonly store: Store<M>;
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether an answer could leave now: else it claims nothing. Absent is always. */
  readonly canDeliver?: () => boolean;
}

/**
 * A gateway among those that share a store: it claims lanes as it has room for them, and runs and delivers what it
 * holds only while it holds its lease. After that it does nothing more: a new one with another owner takes its place.
 */
export class ClusterMember<M> {
  /** Its requests are read and written only while the lease is held. */
  readonly store: Store<M>;
  /** Resolves when the lease is lost. */
  readonly lost: Promise<void>;
  readonly #lease: Lease;
  readonly #poller: LanePoller<M>;

  constructor(options: ClusterMemberOptions<M>) {
    this.#lease = new Lease(options);
    this.#poller = new LanePoller<M>(options, this.#lease);
    this.store = guardedStore(options.store, this.#lease);
    this.lost = this.#lease.lost;
  }

  /** Whether the result of a poll is on its way: until then it is not known which requests of a lane came first. */
  readonly isPolling = (): boolean => this.#poller.isPolling;

  /** A turn could start that is not here. */
  readonly onSpare = (): void => this.#poller.onSpare();

  /** A durable request whose answer leaves only while the lease is held. */
  guarded(request: Request): Request {
    if (!request.durable) return request;
    return { ...request, reply: this.#lease.guarded((part) => request.reply(part)) };
  }

  guardedReplyTo(replyTo: ReplyTo): ReplyTo {
    return (channel, recipient) => this.#lease.guarded(replyTo(channel, recipient));
  }

  /**
   * Takes the lease and claims the first lanes; returns the number of their requests. Rejects as the store does; then
   * nothing of it goes on.
   */
  async start(ports: PollerPorts<M>): Promise<number> {
    try {
      await this.#lease.start();
      return await this.#poller.start(ports);
    } catch (thrown) {
      await this.close();
      throw thrown;
    }
  }

  /** Claims no more, and leaves to others at once what has not started here. */
  leave(): void {
    this.#poller.leave();
  }

  /** Leaves the rest to others; leaves no timer. Does not reject. */
  async close(): Promise<void> {
    await this.#poller.close();
    this.#lease.close();
  }
}
