import { SYSTEM_CLOCK } from "../../gateway/clock.ts";
import type { Clock } from "../../gateway/clock.ts";
import type { Store } from "../../store/contract.ts";

/** The clock of gateways that share a store, on several machines: that of the store. Rejects if it cannot be read. */
export async function sharedClockOf({ clock }: Pick<Store<never>, "clock">): Promise<Clock> {
  if (clock === undefined) return SYSTEM_CLOCK;
  const { openStoreClock } = await import("../../gateway/jobs/store-clock.ts");
  return openStoreClock(clock, SYSTEM_CLOCK);
}
