import { failpoint } from "../base/failpoint.ts";
import type { ImportedConversation, ConversationStore } from "./contract.ts";

/** Lanes that are known to have been looked for elsewhere; beyond them some are looked for again. */
const REMEMBERED = 4096;

/**
 * A store whose conversations begin with what was said elsewhere: the first time that a lane without any
 * is asked for, `find` may know it. `find` never rejects.
 */
export function withImport<M, S extends ConversationStore<M>>(
  store: S,
  find: (lane: string) => Promise<ImportedConversation<M> | undefined>,
): S {
  const sought = new Map<string, Promise<void>>();

  const adopt = async (lane: string): Promise<void> => {
    const found = await find(lane);
    if (found !== undefined) await store.importConversation(lane, found);
    failpoint("adopted");
  };
  const seek = (lane: string): Promise<void> => {
    const seeking = sought.get(lane) ?? adopt(lane);
    sought.set(lane, seeking);
    const [oldest] = sought.keys();
    if (oldest !== undefined && sought.size > REMEMBERED) sought.delete(oldest);
    // What could not be written now is tried again with the next request.
    return seeking.catch((thrown: unknown) => {
      sought.delete(lane);
      throw thrown;
    });
  };

  return {
    ...store,
    async history(lane) {
      const said = await store.history(lane);
      if (said.length > 0) return said;
      await seek(lane);
      return store.history(lane);
    },
  };
}
