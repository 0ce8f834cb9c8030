import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { BOUNDS, storeContract } from "./contract.ts";

/** It ends with its process: there is no restart, and what is opened is the same store with other facts. */
storeContract("memory", async () => {
  let now = 1_800_000_000_000;
  const make = (facts = {}) =>
    createMemoryStore<string>({ owner: "one", now: () => now, bounds: BOUNDS, ...facts });
  let store: ReturnType<typeof make> | undefined;
  return {
    open: (facts) => {
      store = facts === undefined && store !== undefined ? store : make(facts);
      return Promise.resolve(store);
    },
    pass(ms) {
      now += ms;
    },
    async [Symbol.asyncDispose]() {
      await store?.close();
    },
  };
});
