import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "../../src/base/secret.ts";
import { httpClientChecks } from "../../src/cli/checks/http-clients.ts";
import { agentConfig, toolProfile } from "../support/agent-config.ts";
import { QUIET_GATEWAY } from "../support/channel.ts";

const enabled = { ...QUIET_GATEWAY, ollama: { enabled: true, channel: "" } };
const { tools } = agentConfig([]);

/** What doctor says of these settings. */
function checks(gateway: typeof enabled, host: string, more: Partial<typeof tools> = {}) {
  return httpClientChecks({ gateway, tools: { ...tools, ...more } }, host);
}

describe("doctor on clients over HTTP", () => {
  it("says nothing while no program may ask", () => {
    assert.deepEqual(checks(QUIET_GATEWAY, "0.0.0.0"), []);
  });

  it("says who may ask, and never a token", () => {
    const tokens = { hall: new Secret("a-token-of-the-hall") };
    const [named] = checks({ ...enabled, tokens }, "0.0.0.0");
    assert.equal(named?.result, "ok");
    assert.match(named?.message ?? "", /^Ollama: who shows a token may ask \(hall\)$/);
    const [local] = checks({ ...enabled, mcp: enabled.ollama }, "localhost");
    assert.equal(local?.result, "ok");
    assert.match(local?.message ?? "", /^MCP and Ollama: programs of this machine/);
  });

  it("warns of a gateway that listens where nobody may ask", () => {
    const [found] = checks(enabled, "0.0.0.0");
    assert.equal(found?.result, "warn");
    assert.match(found?.message ?? "", /nobody else, though it listens on 0\.0\.0\.0/);
    assert.match(found?.remedy ?? "", /gateway\.tokens\.<client>/);
  });

  it("warns where commands of clients could ask", () => {
    const exec = { ...tools.exec, allow_network: true };
    const profiles = [toolProfile({ pattern: "kitchen", tools: ["exec"] })];
    const [found] = checks(enabled, "localhost", { exec, profiles });
    assert.equal(found?.result, "warn");
    assert.match(found?.message ?? "", /nobody may ask without a token, because commands/);
    for (const less of [{ exec }, { profiles }]) {
      assert.equal(checks(enabled, "localhost", less)[0]?.result, "ok");
    }
  });
});
