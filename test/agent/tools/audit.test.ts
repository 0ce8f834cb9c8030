import assert from "node:assert/strict";
import { join } from "node:path";
import { it } from "node:test";
import { openAgent } from "../../../src/agent/agent.ts";
import type { LogFields } from "../../../src/base/log.ts";
import { agentConfig, collect, modelEntry } from "../../support/agent-config.ts";
import { createMemoryLog, type MemoryLog } from "../../support/memory-log.ts";
import { answers, calls, startModelServer } from "../../support/model-server.ts";
import { temporaryFolder } from "../../support/temporary.ts";

/** The audit lines in a log, without their times. */
function auditIn({ lines }: MemoryLog): readonly LogFields[] {
  const audit = lines.filter(({ level, message }) => level === "info" && message === "tool call");
  return audit.map(({ fields: { ms, ...fields } }) => {
    assert.equal(typeof ms, "number");
    return fields;
  });
}

const asked = { history: async () => [], client: "kitchen", channel: "mqtt", isRemote: true };

it("each tool call has a line: by whom, which, whether it was refused, and nothing of its texts", async () => {
  await using folder = await temporaryFolder();
  const server = await startModelServer();
  const log = createMemoryLog();
  const workspace = join(folder.path, "workspace");
  const config = agentConfig([modelEntry({ api_base: server.base })], { workspace });
  const agent = await openAgent({ config, log });
  server.script(
    calls(
      { name: "device", arguments: '{"facts":["time"]}' },
      { name: "exec", arguments: '{"command":"cat secret"}' },
      { name: "spawn_status", arguments: "{}" },
      { name: "nothing\u001b[2J", arguments: "{}" },
    ),
    answers("done"),
  );
  await collect(agent.answer({ ...asked, text: "hello", signal: new AbortController().signal }));
  await agent.close();
  await server.close();
  const lines = auditIn(log);
  const verdicts = Object.fromEntries(lines.map(({ tool, verdict }) => [tool, verdict]));
  assert.deepEqual(verdicts, {
    device: "ok",
    exec: "refused",
    spawn_status: "refused",
    "nothing\u001b[2J": "unknown",
  });
  assert.equal(lines.length, 4);
  assert.ok(lines.every(({ client, channel }) => client === "kitchen" && channel === "mqtt"));
  assert.doesNotMatch(JSON.stringify(lines), /secret/);
});

it("debug shows the URL and the status of a model's server, and no key", async () => {
  await using folder = await temporaryFolder();
  const server = await startModelServer();
  const log = createMemoryLog();
  const config = agentConfig([modelEntry({ api_base: server.base })], { workspace: folder.path });
  const agent = await openAgent({ config, log });
  server.script(answers("done"));
  await collect(agent.answer({ ...asked, text: "words", signal: new AbortController().signal }));
  await agent.close();
  await server.close();
  const url = `${server.base}/chat/completions`;
  assert.deepEqual(
    log.lines.filter(({ level }) => level === "debug"),
    [{ level: "debug", message: "a model's server answered", fields: { url, status: 200 } }],
  );
});

it("so has a measurement of the offline agent", async () => {
  await using folder = await temporaryFolder();
  const log = createMemoryLog();
  const agent = await openAgent({ config: agentConfig([], { workspace: folder.path }), log });
  const signal = new AbortController().signal;
  await collect(agent.answer({ ...asked, text: "uptime", signal }));
  await agent.close();
  assert.deepEqual(
    auditIn(log).map(({ tool, verdict }) => [tool, verdict]),
    [["device", "ok"]],
  );
});
