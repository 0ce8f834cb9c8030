import assert from "node:assert/strict";
import { access } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { it } from "node:test";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { openRuntime } from "../../src/cli/runtime/runtime.ts";
import { agentConfig, toolProfile, toolSettings } from "../support/agent-config.ts";
import { channelFor, QUIET_GATEWAY } from "../support/channel.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

it("closes the built-in broker, the agent and the store if a check fails", async () => {
  await using folder = await temporaryFolder();
  const port = await freePort();
  const log = createMemoryLog();
  const workspace = join(folder.path, "workspace");
  const opening = openRuntime({
    config: {
      ...agentConfig([], { workspace }),
      heartbeat: { enabled: true, interval: 30 },
      session: { dimensions: ["chat"] },
      gateway: QUIET_GATEWAY,
    },
    channels: [channelFor(`embedded://127.0.0.1:${port}`)],
    log,
    redactor: createRedactor(),
    logContent: false,
    connectTimeoutMs: 5000,
    pid: 1,
    persistent: true,
    secretFiles: ["n".repeat(5000)],
  });
  await assert.rejects(opening, /ENAMETOOLONG/);
  assert.match(log.text(), /built-in broker listens/);
  await using other = createServer();
  await new Promise<void>((resolve, reject) => {
    other.once("error", reject);
    other.listen(port, "127.0.0.1", resolve);
  });
  // The last connection of SQLite removes its write-ahead log.
  await assert.rejects(access(join(workspace, "state", "picoclaw.db-wal")));
});

it("opens no connection for devices where one thing is asked", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  const isOpen = (): boolean => broker.log().includes(" as picoclaw-feed-");
  const profiles = [toolProfile({ tools: ["devices"] })];
  for (const persistent of [false, true]) {
    await using folder = await temporaryFolder();
    const runtime = await openRuntime({
      config: {
        ...agentConfig([], { workspace: join(folder.path, "workspace") }),
        tools: toolSettings({ profiles }),
        heartbeat: { enabled: false, interval: 30 },
        session: { dimensions: ["chat"] },
        gateway: QUIET_GATEWAY,
      },
      channels: [channelFor(broker.url)],
      log: createMemoryLog(),
      redactor: createRedactor(),
      logContent: false,
      connectTimeoutMs: 5000,
      pid: 1,
      persistent,
      home: folder.path,
    });
    await runtime.subscribed("mqtt");
    if (persistent) await until("the feed connects", isOpen);
    await runtime.stop(1_000);
    assert.equal(isOpen(), persistent);
  }
});
