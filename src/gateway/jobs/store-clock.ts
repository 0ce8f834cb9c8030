import type { StoreClock } from "../../store/contract/counters.ts";
import type { Clock } from "../clock.ts";

/** Milliseconds after which the time of the store is read again. */
const READ_EVERY_MS = 10 * 60_000;

/** The clock with the time of day of a store that gateways share: that of a machine may be wrong. Rejects as `read`. */
export async function openStoreClock(
  read: () => Promise<StoreClock>,
  clock: Clock,
): Promise<Clock> {
  let readAt = clock.now();
  let offset = (await read()).epoch - clock.now();
  const readAgain = async (): Promise<void> => {
    try {
      offset = (await read()).epoch - clock.now();
    } catch {
      // It goes on as it was.
    }
  };
  return {
    ...clock,
    epoch() {
      if (clock.now() - readAt >= READ_EVERY_MS) {
        readAt = clock.now();
        void readAgain();
      }
      return Math.round(offset + clock.now());
    },
  };
}
