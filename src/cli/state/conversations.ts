import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Message } from "../../agent/contract.ts";
import { failpoint } from "../../base/failpoint.ts";
import type { Log } from "../../base/log.ts";
import type { Config } from "../../config/contract.ts";
import { clientOf, isLocal, SHARED_CONVERSATION } from "../../gateway/request-keys.ts";
import type { ConversationStore } from "../../store/contract/conversations.ts";
import type { StoreOptions } from "../../store/contract/store.ts";
import { type GoKey, keysOfClient, keysOfSession, SHARED_KEYS } from "../../store/go/keys.ts";

const DAY_MS = 24 * 60 * 60_000;
/** Bounds of the stored data of one home; the dedupe window is configured separately. */
export const BOUNDS = {
  leaseMs: 60_000,
  rows: 1_000_000,
  bytes: 512 * 2 ** 20,
  laneRows: 4096,
  laneBytes: 16 * 2 ** 20,
  rejections: 65_536,
  messages: 100,
  characters: 2 ** 21,
  hiddenMs: 90 * DAY_MS,
  hiddenTurns: 10_000,
  hiddenBytes: 256 * 2 ** 20,
  conversations: 20_000,
  conversationBytes: 256 * 2 ** 20,
  usedMs: DAY_MS,
  turns: 20_000,
  turnBytes: 16 * 2 ** 20,
  turnBytesPerDay: 4 * 2 ** 20,
  counters: 100_000,
};

/** The options of every store of this program. */
export function storeOptions(config: Config): StoreOptions {
  const windowMs = config.gateway.dedupe_window_secs * 1000;
  return {
    owner: randomBytes(9).toString("base64url"),
    now: () => Date.now(),
    bounds: { ...BOUNDS, windowMs },
  };
}

/** The client and the channel of a conversation, for display. */
export interface ConversationClient {
  readonly client: string;
  readonly channel: string;
}

export function clientOfLane(lane: string): ConversationClient {
  if (lane === SHARED_CONVERSATION) return { client: lane, channel: "*" };
  // Very long names are stored as a hash.
  return clientOf(lane) ?? { client: lane, channel: "?" };
}

/** Conversations that were looked for already; beyond them some are looked for again. */
const REMEMBERED = 1024;

/**
 * A store that imports a conversation from Go PicoClaw in this workspace when its history is read for the
 * first time and it has no messages.
 */
export function withGoSessions<S extends ConversationStore<Message>>(
  store: S,
  config: Config,
  log: Log,
): S {
  const folder = join(config.agents.defaults.workspace, "sessions");
  const imports = new Map<string, Promise<boolean> | "done">();

  /** False if there is none. */
  const importSession = async (lane: string): Promise<boolean> => {
    const { readGoSession } = await import("../../store/go/session.ts");
    const found = await readGoSession(goKeysOf(lane, config), { folder, bounds: BOUNDS, log });
    if (found !== undefined) await store.importConversation(lane, found);
    failpoint("adopted");
    return found !== undefined;
  };

  return {
    ...store,
    async history(lane) {
      const messages = await store.history(lane);
      const importing = imports.get(lane);
      if (messages.length > 0 || importing === "done") return messages;
      const imported = importing ?? importSession(lane);
      imports.set(lane, imported);
      const [oldest] = imports.keys();
      if (oldest !== undefined && imports.size > REMEMBERED) imports.delete(oldest);
      try {
        const isFound = await imported;
        imports.set(lane, "done");
        if (!isFound) return messages;
      } catch (thrown) {
        // What could not be written now is tried again with the next request.
        imports.delete(lane);
        throw thrown;
      }
      return store.history(lane);
    },
  };
}

/** The Go program did not record the MQTT channel of a session, so with several channels none is imported. */
function goKeysOf(lane: string, { channels }: Config): readonly GoKey[] {
  const client = clientOf(lane)?.client;
  if (client !== undefined && isLocal(lane)) return keysOfSession(client);
  if (channels.length > 1) return [];
  if (lane === SHARED_CONVERSATION) return SHARED_KEYS;
  return client === undefined ? [] : keysOfClient(client);
}

/** Whether all clients share one conversation. */
export function isShared({ dimensions }: Config["session"]): boolean {
  return !dimensions.includes("chat") && !dimensions.includes("sender");
}
