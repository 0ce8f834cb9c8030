import type { Confirmations } from "../../agent/access/confirmations.ts";
import { Lazy } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import type { Config } from "../../config/contract.ts";
import type { Confirmations as Stored } from "../../gateway/confirmations/confirmations.ts";
import type { Push } from "../../gateway/contract.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import type { Store } from "../../store/contract/store.ts";
import { expiringHere, sharedClockOf } from "./shared-clock.ts";

export interface RuntimeConfirmationsOptions {
  readonly store: Pick<Store<never>, "confirmations" | "clock">;
  readonly push: Gateway["push"];
  readonly redactor: Redactor;
  readonly log: Log;
}

/** Calls that wait for a person. The code is loaded with the first use. */
export interface RuntimeConfirmations extends Confirmations {
  /**
   * Does what a former process left to do, if the configuration has calls wait at all; tries again until the store can
   * be read. Does not reject.
   */
  start(config: Pick<Config, "tools">): Promise<void>;
  /** Leaves no timer. */
  close(): void;
}

/** Milliseconds before a store that cannot be read is asked again: more and more. */
const RETRY_MS = 1_000;
const MAX_RETRY_MS = 60_000;

export function createConfirmations(options: RuntimeConfirmationsOptions): RuntimeConfirmations {
  let isClosed = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const opened = new Lazy(async () => {
    const waiting = await openConfirmations(options);
    if (isClosed) waiting.close();
    return waiting;
  });
  const load = async (waitMs: number): Promise<void> => {
    try {
      await opened.load();
    } catch (thrown) {
      const { message, why } = asFailure(thrown);
      if (waitMs === RETRY_MS)
        options.log.warn("confirmations are not looked at yet", { error: message, why });
      if (isClosed) return;
      timer = setTimeout(() => void load(Math.min(2 * waitMs, MAX_RETRY_MS)), waitMs);
    }
  };
  return {
    ask: async (call) => (await opened.load()).ask(call),
    waitingFor: async (by) => (await opened.load()).waitingFor(by),
    decide: async (...args) => (await opened.load()).decide(...args),
    begin: async (...args) => (await opened.load()).begin(...args),
    async start({ tools }) {
      if (tools.profiles.some(({ confirm }) => confirm.by.length > 0)) await load(RETRY_MS);
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
      opened.value?.close();
    },
  };
}

async function openConfirmations({
  store,
  push,
  redactor,
  log,
}: RuntimeConfirmationsOptions): Promise<Stored> {
  const [{ Confirmations: Waiting }, confirmations, clock] = await Promise.all([
    import("../../gateway/confirmations/confirmations.ts"),
    store.confirmations(),
    // By its own clock a gateway could take the calls of another for too old.
    sharedClockOf(store),
  ]);
  const redacted = (wanted: Push): Push =>
    "text" in wanted ? { ...wanted, text: redactor.redact(wanted.text) } : wanted;
  const waiting = new Waiting({
    store: confirmations,
    push: (wanted) => push(expiringHere(redacted(wanted), clock)),
    clock,
    log,
  });
  waiting.start();
  return waiting;
}
