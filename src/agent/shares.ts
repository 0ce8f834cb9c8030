import { createSlots } from "./slots.ts";
import type { Slots } from "./slots.ts";

/** A fixed number of places for work side by side, of which no owner has all. */
export interface Shares {
  /** As `Slots.take`: the wait for a place of one's own and the wait for a free one have that time each. */
  take(owner: string, milliseconds: number, signal: AbortSignal): Promise<() => void>;
}

interface Share {
  readonly slots: Slots;
  /** Who waits for a place of it, or has one. */
  users: number;
}

/** At most `each` of `count` places for one owner: whoever fills those leaves the others to others. */
export function createShares(count: number, each: number): Shares {
  const all = createSlots(count);
  const shares = new Map<string, Share>();

  const leave = (owner: string, share: Share): void => {
    share.users -= 1;
    if (share.users === 0) shares.delete(owner);
  };

  return {
    async take(owner, milliseconds, signal) {
      const share = shares.get(owner) ?? { slots: createSlots(each), users: 0 };
      shares.set(owner, share);
      share.users += 1;
      let giveBack: (() => void) | undefined;
      try {
        giveBack = await share.slots.take(milliseconds, signal);
        const giveBackToAll = await all.take(milliseconds, signal);
        const own = giveBack;
        return () => {
          giveBackToAll();
          own();
          leave(owner, share);
        };
      } catch (thrown) {
        giveBack?.();
        leave(owner, share);
        throw thrown;
      }
    },
  };
}
