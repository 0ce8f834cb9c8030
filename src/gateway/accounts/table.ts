import type { Meter, MeterChanges } from "../../store/contract.ts";
import { accountIn, meterOf } from "./account.ts";
import type { Account, Holder, Moment } from "./account.ts";
import { createPending } from "./pending.ts";

export interface TableOptions {
  /** Accounts at a time. */
  readonly rows: number;
  readonly moment: () => Moment;
  /** How much of its limits an account has used; one that has used 1 or more is never forgotten. */
  readonly debtOf: (account: Account) => number;
}

/** Accounts by their names, of which a bounded number is remembered, and what of them is to be kept. */
export interface Table {
  find(name: string): Account | undefined;
  /**
   * The account of that name, begun where there is none. To make room those are forgotten that have used
   * the least of their limits; undefined where every one has used one of them up, so that invented names
   * never make what somebody spent be forgotten.
   */
  open(name: string, holder: Holder): Account | undefined;
  /** The account is not what was kept of it any more; `limited` says whether a limit hangs on that. */
  readonly changed: (name: string, limited: boolean) => void;
  /** What changed since this was asked last, or that on which limits hang, with little else. */
  changes(which: "all" | "limited"): MeterChanges;
  readonly hasChanges: (which: "all" | "limited") => boolean;
  /** These could not be kept. */
  unkept(changes: MeterChanges): void;
  /** Takes over what was kept. */
  load(meters: readonly Meter[]): void;
}

/** The part of all accounts that is forgotten in one go: looking for it costs as much as for a single one. */
const AT_ONCE = 1 / 16;
/** Where nothing can be forgotten, looking for it again and again would help those who invent names. */
const PAUSE_MS = 1000;

export function createTable(options: TableOptions): Table {
  const { rows, moment } = options;
  /** The one opened longest ago is the first. */
  const accounts = new Map<string, Account>();
  const pending = createPending();
  const forgetSome = createForgetting(accounts, options, pending.forgotten);

  return {
    find: (name) => accounts.get(name),
    open(name, holder) {
      const known = accounts.get(name);
      if (known === undefined && accounts.size >= rows && !forgetSome()) return undefined;
      const account = known ?? { holder, bucket: undefined, days: [] };
      accounts.delete(name);
      accounts.set(name, account);
      return account;
    },
    changed: pending.changed,
    hasChanges: pending.has,
    changes(which) {
      const [put, drop]: [Meter[], string[]] = [[], []];
      const at = moment();
      for (const name of pending.take(which)) {
        const account = accounts.get(name);
        if (account === undefined) drop.push(name);
        else put.push(meterOf(name, account, at));
      }
      for (const { name } of put) pending.isKept(name);
      return { put, drop };
    },
    unkept({ put, drop }) {
      for (const name of [...put.map((meter) => meter.name), ...drop]) pending.changed(name, true);
    },
    load(meters) {
      for (const meter of meters) {
        pending.isKept(meter.name);
        const account = accountIn(meter, moment());
        if (account !== undefined) accounts.set(meter.name, account);
        else pending.forgotten(meter.name);
      }
      // Fewer rows than the former program had.
      while (accounts.size > rows && forgetSome()) continue;
    },
  };
}

/** Forgets those that used the least of their limits; false where every one has used one up. */
function createForgetting(
  accounts: Map<string, Account>,
  { rows, moment, debtOf }: TableOptions,
  forgot: (name: string) => void,
): () => boolean {
  let lookAgainAt = Number.NEGATIVE_INFINITY;
  return () => {
    const { now } = moment();
    if (now < lookAgainAt) return false;
    const debts = [...accounts].map(([name, account]) => ({ name, debt: debtOf(account) }));
    const light = debts.filter(({ debt }) => debt < 1).toSorted((a, b) => a.debt - b.debt);
    const forgotten = light.slice(0, Math.max(1, Math.floor(rows * AT_ONCE)));
    for (const { name } of forgotten) {
      accounts.delete(name);
      forgot(name);
    }
    if (forgotten.length === 0) lookAgainAt = now + PAUSE_MS;
    return forgotten.length > 0;
  };
}
