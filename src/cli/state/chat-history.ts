import { join } from "node:path";
import type { Message, Turned } from "../../agent/contract.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Config } from "../../config/contract.ts";
import { SYSTEM_CLOCK } from "../../gateway/clock.ts";
import { type Compact, Compaction, type CompactionOptions } from "../../gateway/compaction.ts";
import { localLaneOf } from "../../gateway/request-keys.ts";
import type { ConversationStore } from "../../store/contract/conversations.ts";
import { openConversations } from "../../store/sqlite/shared-access.ts";
import { createMemoryStore } from "../../store/sqlite/store.ts";
import { storeOptions, withGoSessions } from "./conversations.ts";
import { stateFolderOf } from "./state-folder.ts";

/** The conversation of a session of the command `agent`. Nothing here rejects: the answer matters more. */
export interface ChatHistory {
  readonly history: () => Promise<readonly Message[]>;
  readonly append: (turned: Turned) => Promise<void>;
  /** Cancels a running summary at once, or when the signal is aborted. */
  readonly close: (over?: AbortSignal) => Promise<void>;
}

export interface ChatHistoryOptions {
  readonly config: Config;
  readonly log: Log;
  /** Summarizes the conversation when it gets too long, in the background. */
  readonly compact: Compact<Message> | undefined;
}

/**
 * The session of that name as the last call of the program left it; a gateway may be running. If nothing
 * can be stored it logs a warning, and the session ends with the program.
 */
export async function openChatHistory(
  name: string,
  { config, log, compact }: ChatHistoryOptions,
): Promise<ChatHistory> {
  const lane = localLaneOf(name);
  const store = withGoSessions(await openStore(config, log), config, log);
  const compaction = new Compaction<Message>(
    { compact, store: withPurge(store), log },
    SYSTEM_CLOCK,
  );
  let turnEnded: (() => void) | undefined;
  return {
    history() {
      turnEnded?.();
      turnEnded = compaction.turnStarted();
      return store.history(lane).catch((thrown: unknown) => {
        log.warn("the conversation cannot be read", { why: asFailure(thrown).why });
        return [];
      });
    },
    async append({ messages, forget }) {
      try {
        await store.append(lane, messages, forget);
        turnEnded?.();
        compaction.turnAdded(lane);
      } catch (thrown) {
        log.warn("the conversation cannot be stored", { why: asFailure(thrown).why });
      }
    },
    async close(over) {
      turnEnded?.();
      await compaction.close(over);
      await store.close();
    },
  };
}

/** Deletes old turns after each compaction, because without a gateway nothing else does. */
function withPurge(store: ConversationStore<Message>): CompactionOptions<Message>["store"] {
  return {
    size: (name) => store.size(name),
    conversation: (name) => store.conversation(name),
    async compact(...what) {
      const isCompacted = await store.compact(...what);
      if (isCompacted) await store.purge();
      return isCompacted;
    },
  };
}

async function openStore(config: Config, log: Log): Promise<ConversationStore<Message>> {
  const options = storeOptions(config);
  try {
    const { store } = config.gateway;
    if (store !== undefined) {
      const { openSharedConversations } = await import("./shared-state.ts");
      return await openSharedConversations(store, config);
    }
    const file = join(stateFolderOf(config), "picoclaw.db");
    return await openConversations<Message>(file, { ...options, readOnly: false });
  } catch (thrown) {
    const { message, why, remedy } = asFailure(thrown);
    log.warn("this conversation will not be stored", { error: message, why, try: remedy });
    return createMemoryStore<Message>(options);
  }
}
