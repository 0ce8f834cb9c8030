import { failpoint } from "../base/failpoint.ts";
import type { ConversationStore, ImportedConversation } from "./contract.ts";

/** Conversations that were looked for elsewhere already; beyond them some are looked for again. */
const REMEMBERED = 4096;

/**
 * Returns the store with another `history`: the first time that it is read of a conversation without
 * messages, `find` may know the conversation from elsewhere, and it is imported. `find` must not reject.
 */
export function withImport<M, S extends ConversationStore<M>>(
  store: S,
  find: (name: string) => Promise<ImportedConversation<M> | undefined>,
): S {
  const imports = new Map<string, Promise<void>>();

  const importFound = async (name: string): Promise<void> => {
    const found = await find(name);
    if (found !== undefined) await store.importConversation(name, found);
    failpoint("adopted");
  };
  const importOnce = (name: string): Promise<void> => {
    const importing = imports.get(name) ?? importFound(name);
    imports.set(name, importing);
    const [oldest] = imports.keys();
    if (oldest !== undefined && imports.size > REMEMBERED) imports.delete(oldest);
    // What could not be written now is tried again with the next request.
    return importing.catch((thrown: unknown) => {
      imports.delete(name);
      throw thrown;
    });
  };

  return {
    ...store,
    async history(name) {
      const messages = await store.history(name);
      if (messages.length > 0) return messages;
      await importOnce(name);
      return store.history(name);
    },
  };
}
