import assert from "node:assert/strict";
import { it } from "node:test";
import * as fc from "fast-check";
import { askingClient } from "../../src/cli/runtime/ask-agent.ts";
import { isDeviceClient } from "../../src/mqtt/protocol/topics.ts";

const names = fc.oneof(
  fc.string({ unit: "binary", maxLength: 200 }),
  fc.string({ unit: fc.constantFrom(":", "/", "%", "=", "+", "a", "#"), maxLength: 200 }),
);

it("no two clients of agents ask as the same one, and each name fits into a topic", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(names, names), { maxLength: 20 }), (pairs) => {
      const wanted = new Set(pairs.map((pair) => JSON.stringify(pair)));
      const ids = [...wanted].map((pair) => {
        const [agent, client] = JSON.parse(pair);
        return askingClient(agent, client);
      });
      assert.equal(new Set(ids).size, wanted.size);
      assert.ok(ids.every((id) => isDeviceClient(id) && id.length <= 128));
    }),
  );
});

it("an agent's own user is another one than every client", () => {
  assert.equal(askingClient("house", undefined), "agent:house");
  assert.equal(askingClient("house", ""), "agent:house:");
});
