import { settlesWithin } from "../../base/async.ts";
import type { Incoming } from "../protocol/message.ts";

/** When the gateway stops: for what is being stored. */
const STORED_MS = 1_500;

/**
 * The messages of a connection that the gateways of a cluster have one after the other. What comes without the lease is
 * neither handed over nor acknowledged: the next holder gets it.
 */
export class LeasedMessages {
  readonly #isHeld: () => boolean;
  readonly #receive: (message: Incoming) => Promise<void> | undefined;
  readonly #storing = new Set<Promise<void>>();
  #isStopping = false;

  /** `receive` takes a message; it may be acknowledged when the promise resolves. */
  constructor(isHeld: () => boolean, receive: (message: Incoming) => Promise<void> | undefined) {
    this.#isHeld = isHeld;
    this.#receive = receive;
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  take(message: Incoming): Promise<void> | undefined {
    if (!this.#isHeld()) return undefined;
    if (this.#isStopping) return new Promise(() => {});
    const stored = this.#receive(message);
    if (stored === undefined) return undefined;
    this.#storing.add(stored);
    void stored.finally(() => this.#storing.delete(stored));
    return stored;
  }

  /** The lease is lost: what was taken is never acknowledged. */
  forget(): void {
    this.#storing.clear();
  }

  /** Takes no more. */
  stop(): void {
    this.#isStopping = true;
  }

  /** Waits until what was taken is stored, for 1.5 seconds at most. */
  async stored(): Promise<void> {
    await settlesWithin(Promise.all(this.#storing), STORED_MS);
  }
}
