import type { AbandonedRequest, Claim, JoinedAddress } from "./store.ts";

/**
 * What gateways need that share one store. Times are of the database's clock; those that a holder may rely
 * on are told as durations, to be measured on its own monotonic clock from before the call.
 *
 * A lane with work belongs to one gateway, its owner, which answers its requests in order. An owner lives as
 * long as it renews (`Store.renew`), and for 15 s after that; what a dead one held is claimed by others, and its claims are stale from then on.
 *
 * A call rejects as those of the store do: `busy` (nothing was written) or `unsure`.
 */
export interface Cluster {
  /** The owner under which this gateway shares the store. */
  readonly owner: string;
  /**
   * Claims what was accepted for the lanes of this owner, and up to `lanes` further lanes with open requests whose
   * owner is dead or that have none, the one that waited longest first, each with all of its open requests. Gives up
   * lanes of this owner that have had no open request for 30 s, or, if `lanes` is 0, for one second: other gateways have
   * room for their next requests. Takes effect, and resolves, in the order of the calls of
   * the store; what a call that rejected as `unsure` has claimed is in the result of the next one.
   */
  poll(lanes: number): Promise<Polled>;
  /**
   * Gives up the intakes of this owner, and all its lanes but these; what it holds of the others may be claimed at
   * once. May be called again with fewer lanes.
   */
  leave(except: readonly string[]): Promise<void>;
  /**
   * The right to hear the requests of one channel and agent; sends nothing yet. Its name is that of the channel, or
   * that with a space and more.
   */
  intake(name: string): Intake;
  /**
   * Names this store among others: eight random hex digits, made once and kept in the store, the same for all of
   * its gateways. MQTT client ids that they share are made of it.
   */
  identity(): Promise<string>;
  /** Calls `listener` when there may be something to poll. Only a hint: it may come late, or never. */
  onHint(listener: () => void): () => void;
  /** Tells the other gateways of this one; `about` is plain data. Kept as long as this owner lives. */
  announce(about: unknown): Promise<void>;
  /** The living gateways of this store, this one among them, in no order. */
  gateways(): Promise<readonly ClusterGateway[]>;
}

/** What happened since the last poll. */
export interface Polled {
  /**
   * In the order of acceptance. Attempts of former owners count. Has a part of the undelivered rejections of dead
   * owners, too, as answered requests; the others come with later polls.
   */
  readonly claimed: readonly AbandonedRequest[];
  /** Lanes of this owner whose open requests are cancelled since: a `Stop` was accepted elsewhere. */
  readonly stopped: readonly string[];
  /**
   * Further addresses for answers of requests that this owner holds, or has delivered since they joined. Has all those
   * of the claimed requests, too.
   */
  readonly joined: readonly JoinedRequest[];
}

/** A further address, and the request that this owner holds or has delivered. */
export interface JoinedRequest {
  readonly claim: Claim;
  readonly request: AbandonedRequest["request"];
  readonly to: JoinedAddress;
}

/**
 * The lease of the one gateway that hears a channel, for 4 s. Under it `Store.accept` takes requests of the channel; without
 * it, or when another gateway took it meanwhile, `accept` rejects with a `Failure` of code `fenced`.
 */
export interface Intake {
  /**
   * Takes the lease if nobody has it, or renews it. Returns for how many milliseconds it may be relied on, counted
   * from before the call; undefined if another gateway has it.
   */
  take(): Promise<number | undefined>;
  /** Gives it back, so that another gateway can take it at once. */
  release(): Promise<void>;
}

/** Of `Cluster.gateways`. */
export interface ClusterGateway {
  readonly owner: string;
  /** What it announced; undefined before that. */
  readonly about: unknown;
  /** Names of the intakes that it holds. */
  readonly intakes: readonly string[];
  /** Lanes that it holds. */
  readonly lanes: number;
}
