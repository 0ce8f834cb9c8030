import { join } from "node:path";
import type { Message, Turned } from "../agent/contract.ts";
import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Config } from "../config/contract.ts";
import { localLaneOf } from "../gateway/names.ts";
import { openConversations } from "../store/beside.ts";
import type { ConversationStore } from "../store/contract.ts";
import { createMemoryStore } from "../store/memory.ts";
import { stateFolderOf, storeOptions, withGoSessions } from "./conversations.ts";

/** What was said in a session of the command `agent`. Nothing here rejects: an answer is worth more. */
export interface Session {
  readonly history: () => Promise<readonly Message[]>;
  readonly keep: (turned: Turned) => Promise<void>;
  readonly close: () => Promise<void>;
}

/**
 * The session of that name, as the last call of the program left it; a gateway that runs is not in the
 * way. Where nothing can be kept it says so, and the session ends with the program.
 */
export async function openSession(name: string, config: Config, log: Log): Promise<Session> {
  const lane = localLaneOf(name);
  const store = withGoSessions(await openLasting(config, log), config, log);
  return {
    history: () =>
      store.history(lane).catch((thrown: unknown) => {
        log.warn("what was said before cannot be read", { why: asFailure(thrown).why });
        return [];
      }),
    keep: ({ messages, forget }) =>
      store.append(lane, messages, forget).catch((thrown: unknown) => {
        log.warn("what was said cannot be kept", { why: asFailure(thrown).why });
      }),
    close: () => store.close(),
  };
}

async function openLasting(config: Config, log: Log): Promise<ConversationStore<Message>> {
  const options = storeOptions(config);
  try {
    const file = join(stateFolderOf(config), "picoclaw.db");
    return await openConversations<Message>(file, { ...options, readOnly: false });
  } catch (thrown) {
    const { message, why, remedy } = asFailure(thrown);
    log.warn("this conversation ends with the program", { error: message, why, try: remedy });
    return createMemoryStore<Message>(options);
  }
}
