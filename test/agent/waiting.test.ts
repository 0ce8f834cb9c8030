import assert from "node:assert/strict";
import { join } from "node:path";
import { it } from "node:test";
import { openAgent } from "../../src/agent/agent.ts";
import type { Message } from "../../src/agent/contract.ts";
import { SILENT } from "../../src/base/log.ts";
import { laneOf } from "../../src/gateway/names.ts";
import { createGateway } from "../../src/gateway/serve.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { ask } from "../gateway/asker.ts";
import { OPEN_TO_ALL } from "../gateway/setup.ts";
import { agentConfig, modelEntry } from "../support/agent-config.ts";
import { answers, startModelServer } from "../support/model-server.ts";
import type { ModelServer } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const DAY_MS = 24 * 60 * 60_000;
const BOUNDS = {
  leaseMs: 60_000,
  windowMs: 600_000,
  rows: 4096,
  bytes: 2 ** 23,
  messages: 100,
  characters: 2 ** 21,
  hiddenMs: 90 * DAY_MS,
  hiddenTurns: 10_000,
  hiddenBytes: 2 ** 28,
};

/** What the model was asked, in the order in which it took the questions: `summary`, or the question. */
function answerOneByOne(server: ModelServer, milliseconds: number): string[] {
  const begun: string[] = [];
  let last: Promise<void> = Promise.resolve();
  server.otherwise(async (request, response) => {
    const before = last;
    const { promise, resolve } = Promise.withResolvers<void>();
    last = promise;
    await before;
    const isSummary = (request.body.tools ?? []).length === 0;
    begun.push(isSummary ? "summary" : (request.body.messages.at(-1)?.content ?? ""));
    await new Promise((done) => setTimeout(done, milliseconds));
    await answers(isSummary ? "They talked a lot." : "Yes.")(request, response);
    resolve();
  });
  return begun;
}

it("a request that comes while 500 messages are summarized waits for one question to the model at most", async () => {
  await using folder = await temporaryFolder();
  await using server = await startModelServer();
  const begun = answerOneByOne(server, 60);
  // A window so small that 500 messages are many portions.
  const config = agentConfig([modelEntry({ api_base: server.base })], {
    workspace: folder.path,
    context_window: 3_000,
  });
  const agent = await openAgent({ config, log: SILENT });
  const store = await openSqliteStore<Message>(join(folder.path, "state", "picoclaw.db"), {
    owner: "test",
    now: () => Date.now(),
    bounds: BOUNDS,
    log: SILENT,
    sole: true,
  });
  const lane = laneOf({ channel: "mqtt", client: "talker" });
  for (let turn = 0; turn < 250; turn += 1) {
    await store.append(lane, [
      { role: "user", text: `And what of number ${turn}, which came after the others?` },
      { role: "assistant", text: `Number ${turn} is as good as the ones before it.` },
    ]);
  }
  const gateway = createGateway<Message>({
    answer: agent.answer,
    ...(agent.condense && { condense: agent.condense }),
    store,
    log: SILENT,
    maxParallelTurns: 0,
    turnTimeoutMs: 60_000,
    policies: new Map([["mqtt", OPEN_TO_ALL]]),
  });
  const say = (client: string, text: string) => {
    const asked = ask(text, { client, fingerprint: `${client} ${text}` });
    void gateway.accept(asked.request);
    return asked;
  };
  await say("talker", "the first").done;
  await until("a summary is under way", () => begun.includes("summary"));

  for (const [client, text] of [
    ["talker", "from the same client"],
    ["other", "from another client"],
  ] as const) {
    const summaries = begun.filter((what) => what === "summary").length;
    const from = begun.length;
    await say(client, text).done;
    const own = begun.indexOf(text);
    // The one that was under way when it came is the only one that it waits for.
    assert.equal(own, from, `${text}: ${begun.join(", ")}`);
    await until("the next summary is under way", () => {
      return begun.filter((what) => what === "summary").length > summaries;
    });
  }
  await until(
    "it is summarized",
    async () => (await store.conversation(lane)).summary !== undefined,
  );
  const summaries = begun.filter((what) => what === "summary").length;
  assert.ok(summaries >= 4, `only ${summaries} portions`);
  assert.ok((await store.history(lane)).length < 20);
  await gateway.drain(0);
  await agent.close();
  await store.close();
});
