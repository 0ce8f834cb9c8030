import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "../../src/base/secret.ts";
import { httpClientChecks } from "../../src/cli/checks/http-clients.ts";
import { QUIET_GATEWAY } from "../support/channel.ts";

const enabled = { ...QUIET_GATEWAY, ollama: { enabled: true, channel: "" } };

describe("doctor on clients over HTTP", () => {
  it("says nothing while no program may ask", () => {
    assert.deepEqual(httpClientChecks(QUIET_GATEWAY, "0.0.0.0"), []);
  });

  it("says who may ask, and never a token", () => {
    const tokens = { hall: new Secret("a-token-of-the-hall") };
    const [named] = httpClientChecks({ ...enabled, tokens }, "0.0.0.0");
    assert.equal(named?.result, "ok");
    assert.match(named?.message ?? "", /^Ollama: who shows a token may ask \(hall\)$/);
    const [local] = httpClientChecks({ ...enabled, mcp: enabled.ollama }, "localhost");
    assert.equal(local?.result, "ok");
    assert.match(local?.message ?? "", /^MCP and Ollama: programs of this machine/);
  });

  it("warns of a gateway that listens where nobody may ask", () => {
    const [found] = httpClientChecks(enabled, "0.0.0.0");
    assert.equal(found?.result, "warn");
    assert.match(found?.message ?? "", /nobody else, though it listens on 0\.0\.0\.0/);
    assert.match(found?.remedy ?? "", /gateway\.tokens\.<client>/);
  });
});
