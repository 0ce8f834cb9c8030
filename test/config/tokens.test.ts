import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { secretsIn } from "../../src/config/secrets.ts";
import { isSecretPlace, placeNamed } from "../../src/config/settings.ts";
import { branch, DEFAULT } from "../../src/config/tree.ts";
import { allTextOf, failureFrom, inHome, loadedFrom } from "./home.ts";

const TOKEN = "0123456789abcdef";

describe("gateway.tokens", () => {
  it("are secrets by client ids, from .security.yml and from files", async () => {
    await inHome(
      {
        "config.json": { gateway: { ollama: { enabled: true } } },
        ".security.yml": `gateway: {tokens: {"tv:1": ${TOKEN}, hall: file://hall}}\n`,
        hall: "a-token-of-the-hall\n",
      },
      async (home) => {
        const { config } = await home.loaded();
        const { tokens, ollama } = config.gateway;
        const revealed = Object.entries(tokens).map(([client, token]) => [client, token.reveal()]);
        assert.deepEqual(revealed, [
          ["tv:1", TOKEN],
          ["hall", "a-token-of-the-hall"],
        ]);
        assert.equal(JSON.stringify(tokens), '{"tv:1":"***","hall":"***"}');
        assert.ok(secretsIn(config).includes(TOKEN));
        assert.deepEqual(ollama, { enabled: true, channel: "" });
      },
    );
  });

  it("are none by default, and nothing is enabled", async () => {
    const { config } = await loadedFrom({});
    assert.deepEqual(config.gateway.tokens, {});
    assert.equal(config.gateway.ollama.enabled, false);
  });

  it("are long enough, and stand at a client id", async () => {
    for (const tokens of [
      { hall: "too-short" },
      { hall: "with blanks in its middle" },
      { "no/id": TOKEN },
      { "": TOKEN },
      { hall: { token: TOKEN } },
    ]) {
      const failure = await failureFrom({ gateway: { tokens } });
      assert.match(allTextOf(failure), /gateway\.tokens: .* is wrong, allowed is a client id, and/);
      assert.doesNotMatch(allTextOf(failure), /too-short|with blanks|0123456789/);
    }
  });

  it("are secret places, which belong into .security.yml", () => {
    const place = placeNamed("gateway.tokens.hall", branch([], DEFAULT));
    assert.ok("path" in place && isSecretPlace(place));
  });
});
