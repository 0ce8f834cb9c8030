import { UNLIMITED } from "../../src/gateway/channel-policy.ts";
import type { ChannelPolicy } from "../../src/gateway/channel-policy.ts";
import type { Clock } from "../../src/gateway/clock.ts";
import type { Answerer, Turned } from "../../src/gateway/contract.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import type { Gateway, GatewayOptions } from "../../src/gateway/gateway.ts";
import type { Store, StoreOptions } from "../../src/store/contract/store.ts";
import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { createMemoryLog, type LogLine } from "../support/memory-log.ts";
import { createManualClock } from "./manual-clock.ts";
import type { ManualClock } from "./manual-clock.ts";

export const NO_LIMITS = UNLIMITED;
export const OPEN_TO_ALL: ChannelPolicy = {
  allowFrom: [],
  denyFrom: [],
  adminFrom: [],
  intervalMs: 250,
  progressMs: 0,
  limits: NO_LIMITS,
  totalLimits: NO_LIMITS,
};

export interface TestGateway {
  readonly gateway: Gateway;
  readonly clock: ManualClock;
  readonly lines: LogLine[];
}

/** A whole gateway with a manual clock and a recorded log. */
export function createTestGateway(
  answer: Answerer<string>,
  options: Partial<GatewayOptions<string>> & { readonly policy?: Partial<ChannelPolicy> } = {},
): TestGateway {
  const clock = createManualClock();
  const log = createMemoryLog();
  const { lines } = log;
  const policies = new Map([["mqtt", { ...OPEN_TO_ALL, ...options.policy }]]);
  const store = options.store ?? createTestStore(clock);
  const defaults = { log, clock, policies, store, maxParallelTurns: 0, turnTimeoutMs: 60_000 };
  return { gateway: createGateway({ ...defaults, answer, ...options }), clock, lines };
}

/** Options of a store with a manual clock. */
export function storeFacts(clock: Clock, owner: string): StoreOptions {
  const bounds = {
    leaseMs: 60_000,
    windowMs: 600_000,
    rows: 100_000,
    bytes: 64 * 2 ** 20,
    laneRows: 4096,
    laneBytes: 16 * 2 ** 20,
    rejections: 65_536,
    messages: 100,
    characters: 2 ** 20,
    hiddenMs: 90 * 24 * 60 * 60_000,
    hiddenTurns: 10_000,
    hiddenBytes: 2 ** 28,
    conversations: 20_000,
    conversationBytes: 2 ** 28,
    usedMs: 86_400_000,
    turns: 20_000,
    turnBytes: 2 ** 24,
    turnBytesPerDay: 2 ** 22,
    counters: 100_000,
  };
  return { owner, now: () => clock.epoch(), bounds };
}

export function createTestStore(clock: Clock): Store<string> {
  return createMemoryStore<string>(storeFacts(clock, "test"));
}

/** Answers with the question in capitals; adds both to the conversation. */
export async function* shout({
  text,
}: {
  readonly text: string;
}): AsyncGenerator<string, Turned<string>> {
  yield text.toUpperCase();
  return { messages: [text, text.toUpperCase()] };
}

/** An answerer whose turns end when the test says so, in the order of their start. */
export interface ManualAnswerer {
  readonly answer: Answerer<string>;
  /** The texts of the started turns, and the number of running ones. */
  readonly began: string[];
  readonly running: () => number;
  /** Ends the oldest running turn. */
  readonly end: () => void;
}

export function createManualAnswerer(): ManualAnswerer {
  const began: string[] = [];
  const ends: (() => void)[] = [];
  let running = 0;
  return {
    began,
    running: () => running,
    end: () => ends.shift()?.(),
    answer: async function* ({ text, signal }) {
      began.push(text);
      running++;
      try {
        await new Promise<void>((resolve, reject) => {
          ends.push(resolve);
          signal.addEventListener("abort", () => {
            ends.splice(ends.indexOf(resolve), 1);
            reject(signal.reason);
          });
        });
        yield `answer to ${text}`;
        return { messages: [text] };
      } finally {
        running--;
      }
    },
  };
}
