import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Store } from "../store/contract.ts";
import type { Clock } from "./clock.ts";

export interface HouseOptions<M> {
  readonly store: Pick<Store<M>, "renew" | "purge">;
  readonly clock: Pick<Clock, "after">;
  readonly log: Log;
  /** Asks the store to keep what was counted and is worth no write of its own. */
  readonly keepCounts: () => void;
}

/** Twice in the shortest sensible lease. */
const EVERY_MS = 20_000;

/** Renews what the gateway holds in the store and lets the store forget what is old, until `end`. */
export function keepHouse<M>({ store, clock, log, keepCounts }: HouseOptions<M>): {
  begin(): void;
  end(): void;
} {
  let callOff: (() => void) | undefined;
  let ended = false;
  const tidy = async (): Promise<void> => {
    try {
      keepCounts();
      await store.renew();
      await store.purge();
    } catch (thrown) {
      log.debug("the store could not be tidied", { why: asFailure(thrown).why });
    }
    begin();
  };
  const begin = (): void => {
    if (!ended) callOff = clock.after(EVERY_MS, () => void tidy());
  };
  return {
    begin,
    end() {
      ended = true;
      callOff?.();
    },
  };
}
