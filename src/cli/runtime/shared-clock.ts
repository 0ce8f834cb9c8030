import { SYSTEM_CLOCK } from "../../gateway/clock.ts";
import type { Clock } from "../../gateway/clock.ts";
import type { Push } from "../../gateway/contract.ts";
import type { Store } from "../../store/contract/store.ts";

/** The clock of gateways that share a store, on several machines: that of the store. Rejects if it cannot be read. */
export async function sharedClockOf({ clock }: Pick<Store<never>, "clock">): Promise<Clock> {
  if (clock === undefined) return SYSTEM_CLOCK;
  const { openStoreClock } = await import("../../gateway/jobs/store-clock.ts");
  return openStoreClock(clock, SYSTEM_CLOCK);
}

/** The push as the gateway takes it: it compares times with the clock of this machine. */
export function expiringHere<P extends Pick<Push, "expiresAt">>(push: P, clock: Clock): P {
  const { expiresAt } = push;
  if (expiresAt === undefined || clock === SYSTEM_CLOCK) return push;
  return { ...push, expiresAt: expiresAt - clock.epoch() + SYSTEM_CLOCK.epoch() };
}
