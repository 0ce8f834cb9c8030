import type { Meter, MeterChanges, MeterStore } from "../../store/contract.ts";
import { REFUSALS } from "./refusals.ts";
import type { Table } from "./table.ts";

/** Writes what changed. */
export interface Keeper {
  /** Asks the store once for all that changes until it writes; not at all where nothing did. */
  readonly keep: () => void;
  /** The refusals are to be kept with what is kept next. */
  readonly refusalsChanged: () => void;
}

export interface KeeperOptions {
  readonly table: Table;
  readonly refusals: () => Meter;
  readonly store: MeterStore;
  /** Hears why something could not be kept; it is tried again with what is kept next. */
  readonly tell: (thrown: unknown) => void;
}

export function createKeeper({ table, refusals, store, tell }: KeeperOptions): Keeper {
  let isAsked = false;
  let areRefusalsNew = false;

  const take = (): MeterChanges => {
    isAsked = false;
    const { put, drop } = table.changes();
    const more = areRefusalsNew ? [refusals()] : [];
    areRefusalsNew = false;
    return { put: [...put, ...more], drop };
  };
  const untake = ({ put, drop }: MeterChanges): void => {
    const accounts = put.filter(({ name }) => name !== REFUSALS);
    areRefusalsNew ||= accounts.length < put.length;
    table.unkept({ put: accounts, drop });
  };

  return {
    refusalsChanged: () => void (areRefusalsNew = true),
    keep() {
      if (isAsked || !table.hasChanges) return;
      isAsked = true;
      let taken: MeterChanges | undefined;
      store
        .keepMeters(() => (taken = take()))
        .catch((thrown: unknown) => {
          isAsked = false;
          if (taken !== undefined) untake(taken);
          tell(thrown);
        });
    },
  };
}
