import assert from "node:assert/strict";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { Message } from "../../src/agent/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { createFlags } from "../../src/cli/args/flags.ts";
import { load } from "../../src/cli/connection.ts";
import { pageSources } from "../../src/cli/page/sources.ts";
import { pageTokenOf } from "../../src/cli/page/token.ts";
import { laneOf } from "../../src/gateway/request-keys.ts";
import { openInstance } from "../../src/store/home/instance-lock.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { busyStatus } from "../gateway/page/sources.ts";
import { BOUNDS } from "../store/contract.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { createFakeHost } from "./host.ts";

const PASSWORD = "broker-password-1";
const CONFIG = {
  channel_list: {
    mqtt: {
      enabled: true,
      settings: { broker: "tcp://localhost:1883", agent_id: "assistant", password: PASSWORD },
    },
  },
};

/** The sources of the page in a home with this configuration. */
async function sourcesIn(home: string, config: object = CONFIG) {
  await writeFile(join(home, "config.json"), JSON.stringify(config, null, 2));
  const host = createFakeHost([], { env: { PICOCLAW_HOME: home } });
  const redactor = createRedactor();
  const loaded = await load({ host, redactor }, {});
  assert.ok(!(loaded instanceof Failure));
  const flags = createFlags(new Set(), new Map());
  const context = {
    host,
    redactor,
    flags,
    words: [],
    signal: AbortSignal.any([]),
    onNextInterrupt: () => () => {},
  };
  const runtime = { dialled: loaded.config.channels, status: () => Promise.resolve(busyStatus()) };
  const sources = pageSources({ context, runtime, loaded });
  return { config: loaded.config, sources };
}

describe("what the page of a gateway shows", () => {
  it("has the settings with their origins, and no secret", async () => {
    await using folder = await temporaryFolder();
    const { sources } = await sourcesIn(folder.path);
    const settings = await sources.settings();
    const broker = settings.find(({ key }) => key === "channel_list.mqtt.settings.broker");
    assert.match(broker?.origin ?? "", /config\.json/);
    assert.equal(settings.find(({ key }) => key === "gateway.port")?.origin, "default");
    assert.ok(!JSON.stringify(settings).includes(PASSWORD));
  });

  it("has the conversations and their last messages, secrets masked", async () => {
    await using folder = await temporaryFolder();
    const { sources } = await sourcesIn(folder.path);
    const home = await openInstance(join(folder.path, "workspace", "state"), { log: SILENT });
    const store = await openSqliteStore<Message>(home.databaseFile, {
      owner: "1",
      now: () => 1_767_323_045_000,
      bounds: BOUNDS,
      log: SILENT,
    });
    await store.append(laneOf({ channel: "mqtt", client: "kitchen" }), [
      { role: "user", text: `is ${PASSWORD} right?` },
      { role: "assistant", text: "", toolCalls: [{ id: "1", name: "exec", arguments: "{}" }] },
      { role: "tool", callId: "1", name: "exec", text: "yes" },
      { role: "assistant", text: "It is." },
    ]);
    const [only] = await sources.conversations();
    assert.equal(only?.client, "kitchen");
    const found = await sources.conversation(only?.name ?? "");
    const said = found?.messages.map(({ from, tool, text }) => [from, tool, text]);
    assert.deepEqual(said?.slice(1), [
      ["call", "exec", "{}"],
      ["tool", "exec", "yes"],
      ["agent", undefined, "It is."],
    ]);
    assert.ok(!JSON.stringify(found).includes(PASSWORD));
    assert.equal(await sources.conversation("unknown"), undefined);
    await store.close();
    home.close();
  });

  it("asks only as a client id, in a channel that there is", async () => {
    await using folder = await temporaryFolder();
    const { sources } = await sourcesIn(folder.path);
    const ask = async (client: string, channel: string, text: string) => {
      const signal = AbortSignal.any([]);
      for await (const _part of sources.ask({ client, channel, text, signal })) assert.fail();
    };
    await assert.rejects(ask("a/b", "mqtt", "hi"), /is not a client id/);
    await assert.rejects(ask("page", "other", "hi"), /there is no channel/);
    await assert.rejects(ask("page", "mqtt", " "), /there is no question/);
  });
});

describe("the token of the page", () => {
  it("is made once, in a file that only its owner reads", async () => {
    await using folder = await temporaryFolder();
    const { config } = await sourcesIn(folder.path);
    const token = pageTokenOf(config);
    const [first, second] = await Promise.all([token.read(), token.read()]);
    assert.match(first, /^[\w-]{24}$/);
    assert.equal(second, first);
    assert.equal((await readFile(token.place, "utf8")).trim(), first);
    assert.equal((await stat(token.place)).mode & 0o777, 0o600);
    assert.equal(await pageTokenOf(config).read(), first);
  });

  it("is made anew where a loss of power left an empty file", async () => {
    await using folder = await temporaryFolder();
    const { config } = await sourcesIn(folder.path);
    const token = pageTokenOf(config);
    await mkdir(join(folder.path, "workspace", "state"), { recursive: true });
    await writeFile(token.place, "");
    const [first, second] = await Promise.all([token.read(), token.read()]);
    assert.match(first, /^[\w-]{24}$/);
    assert.equal(second, first);
    assert.equal(await pageTokenOf(config).read(), first);
    assert.equal((await stat(token.place)).mode & 0o777, 0o600);
  });

  it("is that of the configuration if there is one", async () => {
    await using folder = await temporaryFolder();
    const gateway = { page: { token: "of-the-configuration" } };
    const { config, sources } = await sourcesIn(folder.path, { ...CONFIG, gateway });
    assert.equal(await pageTokenOf(config).read(), "of-the-configuration");
    assert.ok(!JSON.stringify(await sources.settings()).includes("of-the-configuration"));
  });

  it("says what to do where its file cannot be written", async () => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, "workspace"));
    await writeFile(join(folder.path, "workspace", "state"), "no folder");
    const { config } = await sourcesIn(folder.path);
    await assert.rejects(pageTokenOf(config).read(), ({ remedy }: Failure) => {
      return /gateway\.page\.token/.test(remedy ?? "");
    });
  });
});
