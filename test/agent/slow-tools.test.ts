import assert from "node:assert/strict";
import { it } from "node:test";
import { openAgent } from "../../src/agent/agent.ts";
import type { Message } from "../../src/agent/contract.ts";
import { SILENT } from "../../src/base/log.ts";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { ask } from "../gateway/client.ts";
import { OPEN_TO_ALL, storeFacts } from "../gateway/setup.ts";
import { agentConfig, modelEntry } from "../support/agent-config.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { openWebServer } from "../support/web-server.ts";

it("someone is answered while every slot's turn waits for a page that does not come", async () => {
  await using folder = await temporaryFolder();
  await using models = await startModelServer();
  await using pages = await openWebServer(() => {});
  models.otherwise((request, response) => {
    const isSlow = request.body.messages.at(-1)?.content === "read";
    const fetching = calls({ name: "web_fetch", arguments: JSON.stringify({ url: pages.base }) });
    return (isSlow ? fetching : answers("Here I am."))(request, response);
  });
  const config = agentConfig([modelEntry({ api_base: models.base })], { workspace: folder.path });
  const web = { ...config.tools.web, private_host_whitelist: ["127.0.0.1"] };
  const agent = await openAgent({
    config: { ...config, tools: { ...config.tools, web } },
    log: SILENT,
  });
  const gateway = createGateway<Message>({
    answer: agent.answer,
    store: createMemoryStore<Message>(storeFacts(SYSTEM_CLOCK, "test")),
    log: SILENT,
    maxParallelTurns: 4,
    turnTimeoutMs: 60_000,
    policies: new Map([["mqtt", OPEN_TO_ALL]]),
  });
  const asks = (text: string, client: string) => {
    const asked = ask(text, { client });
    void gateway.accept(asked.request);
    return asked;
  };
  try {
    for (let client = 0; client < 4; client += 1) asks("read", `client ${client}`);
    await until("all of them fetch", () => pages.seen.length === 4);
    const startedAt = performance.now();
    const bystander = asks("hello", "bystander");
    await bystander.done;
    assert.equal(bystander.text(), "Here I am.");
    assert.ok(performance.now() - startedAt < 5_000);
  } finally {
    await gateway.drain(0);
    await agent.close();
  }
});
