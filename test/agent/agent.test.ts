import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openAgent } from "../../src/agent/agent.ts";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import { agentConfig, collect, modelEntry } from "../support/agent-config.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import type { ModelServer } from "../support/model-server.ts";

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

const NEVER = new AbortController().signal;

describe("the agent of a configuration", () => {
  it("with a model asks it, and offers the device's facts", async () => {
    server.script(
      calls({ name: "device", arguments: '{"facts":["hostname","time"]}' }),
      answers("That is it."),
    );
    const config = agentConfig([modelEntry({ api_base: server.base })]);
    const { answer: agent } = await openAgent({ config, log: SILENT });
    const { text } = await collect(agent({ history: [], text: "?", client: "c", signal: NEVER }));
    assert.equal(text, "That is it.");
    assert.match(
      server.requests[1]?.body.messages.at(-1)?.content ?? "",
      /^The hostname is .+\.\nThe time is .+\.$/,
    );
  });

  it("with a model that cannot work is a failure at start", async () => {
    const config = agentConfig([modelEntry({ model: "bedrock/x" })], { model_name: "test" });
    await assert.rejects(
      openAgent({ config, log: SILENT }),
      (thrown) => thrown instanceof Failure && thrown.code === "config",
    );
  });
});
