import { settlesWithin } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { processOf, type GatewayFacts, type GatewayInfo } from "../protocol/info.ts";

/** Other gateways have answered after this, and twice the time that our own info took. */
const ANSWERED_MS = 1_000;
/** Until our own info is there, and until a gateway answers whose info says that it is. */
const MOST_MS = 5_000;

/**
 * A gateway that wants to be the only one asks whether there is another one, before it serves. One that serves
 * stays. Of those that ask at the same time the one whose process is the oldest stays.
 */
export class ExclusiveStart {
  readonly #self: GatewayFacts;
  readonly #log: Log;
  readonly #ownInfo = Promise.withResolvers<void>();
  readonly #rival = Promise.withResolvers<GatewayFacts>();
  /** What the broker had kept. */
  #kept: GatewayInfo | undefined;
  #isOnline = false;

  constructor(self: GatewayFacts, log: Log) {
    this.#self = self;
    this.#log = log;
  }

  /** The broker had kept this status. */
  readStatus(status: string | undefined): void {
    this.#isOnline = status === "online";
  }

  /** The broker had kept this info. What our own home has left there is nobody's. */
  readKept(info: GatewayInfo): void {
    if (info.instance !== this.#self.instance) this.#kept = info;
  }

  readOwn(): void {
    this.#ownInfo.resolve();
  }

  /** Another gateway has read our info, and answers. */
  readAnswer(info: GatewayInfo): void {
    const isYounger = processOf(info) > processOf(this.#self);
    if (info.state === undefined || !isYounger) this.#rival.resolve(info);
  }

  /**
   * Publishes our info with `ask`, and waits for answers. Returns the gateway before which this one must end.
   * Rejects with the signal's reason, and as `ask` does unless that is a `Failure`.
   */
  async findRival(
    ask: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<GatewayFacts | undefined> {
    const begun = performance.now();
    let found: GatewayFacts | undefined;
    const rival = this.#rival.promise.then((info) => (found = info));
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.warn(error.message);
      return undefined;
    }
    const isReadable = await settlesWithin(
      Promise.race([this.#ownInfo.promise, rival]),
      MOST_MS,
      signal,
    );
    if (!isReadable) {
      this.warn("our own info does not come back");
      return undefined;
    }
    const tookMs = performance.now() - begun;
    await settlesWithin(rival, ANSWERED_MS + 2 * tookMs, signal);
    const kept = this.#isOnline ? this.#kept : undefined;
    if (found !== undefined || kept === undefined) return found;
    // An earlier version does not answer. A later one may be slow, or dead without the broker's knowledge.
    if (kept.gateways === undefined) return kept;
    await settlesWithin(rival, MOST_MS, signal);
    return found;
  }

  /** Another gateway cannot be noticed. */
  warn(why: string): void {
    this.#log.warn("gateway.exclusive cannot be kept: another gateway would not be noticed", {
      why,
      try: "allow this user to read and write the topics status and info (picoclaw acl)",
    });
  }
}

/** Why a gateway ends before another one. */
export function anotherServes(
  agent: string,
  { instance, host, version, since }: GatewayFacts,
): Failure {
  const where = host === undefined ? "" : ` on ${host}`;
  return new Failure("refused", `another gateway serves the agent ${agent}`, {
    why: `the gateway ${instance}${where} (${version}, since ${since}) serves it, and gateway.exclusive is true for one of both`,
    remedy:
      "stop that one, give this one an agent_id of its own, or set gateway.exclusive to false",
  });
}
