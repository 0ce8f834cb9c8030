import type { Meter, MeterChanges, MeterStore } from "../../store/contract.ts";
import type { AccountCache } from "./account-cache.ts";
import { REFUSALS } from "./refusals.ts";

/** Writes what changed. */
export interface Keeper {
  /**
   * Asks the store once for all that changes until it writes and has a limit hanging on it; not at all
   * where nothing does.
   */
  readonly keep: () => void;
  /** The same for all that changed, and for the refusals. */
  readonly keepAll: () => void;
  readonly refusalsChanged: () => void;
}

export interface KeeperOptions {
  readonly cache: AccountCache;
  readonly refusals: () => Meter;
  readonly store: MeterStore;
  /** Hears why something could not be kept; it is tried again with what is kept next. */
  readonly tell: (thrown: unknown) => void;
}

export function createKeeper({ cache, refusals, store, tell }: KeeperOptions): Keeper {
  let isAsked = false;
  let areRefusalsNew = false;

  const take = (which: "all" | "limited"): MeterChanges => {
    const { put, drop } = cache.changes(which);
    if (which === "limited" || !areRefusalsNew) return { put, drop };
    areRefusalsNew = false;
    return { put: [...put, refusals()], drop };
  };
  const untake = ({ put, drop }: MeterChanges): void => {
    const accounts = put.filter(({ name }) => name !== REFUSALS);
    areRefusalsNew ||= accounts.length < put.length;
    cache.unsaved({ put: accounts, drop });
  };
  const write = (which: "all" | "limited"): void => {
    let taken: MeterChanges | undefined;
    const begin = (): MeterChanges => {
      if (which === "limited") isAsked = false;
      return (taken = take(which));
    };
    store.keepMeters(begin).then(
      () => taken && cache.saved(taken),
      (thrown: unknown) => {
        isAsked = false;
        if (taken !== undefined) untake(taken);
        tell(thrown);
      },
    );
  };

  return {
    refusalsChanged: () => void (areRefusalsNew = true),
    keep() {
      if (isAsked || !cache.hasChanges("limited")) return;
      isAsked = true;
      write("limited");
    },
    keepAll() {
      cache.retry();
      if (cache.hasChanges("all") || areRefusalsNew) write("all");
    },
  };
}
