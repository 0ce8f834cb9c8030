import assert from "node:assert/strict";
import { it } from "node:test";
import { findAgents } from "../../src/cli/find-agents.ts";

it("the list of agents comes to an end though one of them changes all the time", async () => {
  let isStopped = false;
  const requester = {
    async *agents() {
      try {
        for (let count = 0; ; count += 1) {
          await new Promise((resolve) => setTimeout(resolve, 1));
          yield { agent: count % 2 === 0 ? "restless" : "calm", online: true };
        }
      } finally {
        isStopped = true;
      }
    },
  };
  const { signal } = new AbortController();
  const found = await findAgents(requester, { quietMs: 500, signal }, 50);
  assert.deepEqual([found.map(({ agent }) => agent), isStopped], [["calm", "restless"], true]);
});
