import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { Message } from "../../src/agent/contract.ts";
import { SILENT } from "../../src/base/log.ts";
import { runCommandLine } from "../../src/cli/cli.ts";
import { openState } from "../../src/cli/state/state.ts";
import { loadConfig } from "../../src/config/load.ts";
import { laneOf } from "../../src/gateway/request-keys.ts";
import { openInstance } from "../../src/store/home/instance-lock.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { BOUNDS } from "../store/contract.ts";
import { answers, hangs, startModelServer, dialogueOf } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { createFakeHost, runIn } from "./host.ts";

/** A home with a model that answers, and what that model was shown. */
async function modelHome(defaults: Readonly<Record<string, unknown>> = {}) {
  const folder = await temporaryFolder();
  const server = await startModelServer();
  const model_list = [{ model_name: "m", model: "openai/m", api_base: server.base }];
  const config = { version: 3, agents: { defaults: { model_name: "m", ...defaults } }, model_list };
  await writeFile(join(folder.path, "config.json"), JSON.stringify(config));
  const ask = async (text: string, ...flags: readonly string[]) => {
    server.script(answers(`re ${text}`));
    const ran = await runIn(folder.path, ["agent", "-m", text, ...flags]);
    const shown = server.requests.at(-1)?.body.messages ?? [];
    const said = dialogueOf(shown).map(({ content }) => content);
    return { ...ran, said };
  };
  return {
    path: folder.path,
    server,
    state: join(folder.path, "workspace", "state"),
    sessions: join(folder.path, "workspace", "sessions"),
    ask,
    async [Symbol.asyncDispose]() {
      await server.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** A session's file as Go PicoClaw writes it. */
async function writeGoSession(folder: string, key: string, question: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const lines = [
    { role: "user", content: question },
    { role: "assistant", content: "long ago" },
  ];
  const file = join(folder, key.replaceAll(":", "_"));
  await writeFile(`${file}.jsonl`, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  await writeFile(`${file}.meta.json`, JSON.stringify({ key, summary: "", skip: 0 }));
}

describe("a session of the agent command", () => {
  it("goes on where its last call ended, each under its own name, beside a gateway that runs", async () => {
    await using home = await modelHome();
    const gateway = await openInstance(home.state, { log: SILENT });
    const facts = { owner: "gateway", now: () => Date.now(), bounds: BOUNDS, log: SILENT };
    const store = await openSqliteStore<Message>(gateway.databaseFile, facts);
    await home.ask("1");
    await home.ask("2", "-s", "work");
    const { code, stdout, stderr, said } = await home.ask("3");
    assert.deepEqual([code, stdout, stderr], [0, "re 3\n", ""]);
    assert.deepEqual(said, ["1", "re 1", "3"]);
    assert.deepEqual((await home.ask("4", "--session=work")).said, ["2", "re 2", "4"]);
    await store.close();
    gateway.close();
    assert.deepEqual((await home.ask("5")).said, ["1", "re 1", "3", "re 3", "5"]);
  });

  it("stays short and keeps what it learned, whether somebody talks or a script asks", async () => {
    await using home = await modelHome({ summarize_message_threshold: 6 });
    const { server } = home;
    let summaries = 0;
    server.otherwise(async (request, response) => {
      const isSummary = (request.body.tools ?? []).length === 0;
      if (isSummary) summaries += 1;
      await answers(isSummary ? "Ada has a dog" : "fine")(request, response);
    });
    const shown = () => server.requests.findLast(({ body }) => (body.tools ?? []).length > 0)?.body;
    const env = { PICOCLAW_HOME: home.path };
    for (let index = 0; index < 5; index += 1) {
      assert.equal(await runCommandLine(createFakeHost(["agent", "-m", `${index}`], { env })), 0);
    }
    assert.equal(summaries, 1);
    assert.match(shown()?.messages[1]?.content ?? "", /in short">\nAda has a dog\n<\/data_only>$/);
    assert.deepEqual(
      dialogueOf(shown()?.messages)
        .slice(2)
        .map(({ content }) => content),
      ["2", "fine", "3", "fine", "4"],
    );

    const talker = createFakeHost(["agent"], { env, isTTY: true });
    const chat = runCommandLine(talker);
    for (const line of ["5", "6"]) {
      const asked = server.requests.length;
      talker.stdin.stream.push(`${line}\n`);
      await until("it is answered", () => server.requests.length > asked);
    }
    await until("it is summarized while the conversation goes on", () => summaries === 2);
    talker.stdin.stream.push("exit\n");
    assert.equal(await chat, 0);
  });

  it("leaves a summary that takes long to the next conversation", async () => {
    await using home = await modelHome({ summarize_message_threshold: 4 });
    home.server.otherwise(hangs());
    for (const text of ["1", "2"]) await home.ask(text);
    const env = { PICOCLAW_HOME: home.path };
    home.server.script(answers("re 3"));
    const host = createFakeHost(["agent", "-m", "3"], { env });
    const ended = runCommandLine(host);
    const { gone } = await home.server.received(3);
    assert.equal(host.stdout.text(), "re 3\n");
    host.signal("SIGINT");
    await ended;
    await until("nobody waits for it any more", () => gone.aborted);
    assert.equal(host.stderr.text(), "");
    home.server.otherwise(answers("in short"));
    await home.ask("4");
    assert.equal(dialogueOf(home.server.requests[4]?.body.messages).length, 6 + 1);
    assert.equal(home.server.requests[5]?.body.tools, undefined);
  });

  it("says so where it cannot be kept, and answers all the same", async () => {
    await using home = await modelHome();
    await writeFile(join(home.path, "workspace"), "a file where the folder should be");
    const { code, stdout, stderr } = await home.ask("1");
    assert.deepEqual([code, stdout], [0, "re 1\n"]);
    assert.match(stderr, /this conversation will not be stored/);
  });

  it("begins with what was said in it to Go PicoClaw, once", async () => {
    await using home = await modelHome();
    await writeGoSession(home.sessions, "cli:default", "then");
    assert.deepEqual((await home.ask("1")).said, ["then", "long ago", "1"]);
    assert.deepEqual((await home.ask("2")).said, ["then", "long ago", "1", "re 1", "2"]);
    assert.deepEqual((await home.ask("3", "-s", "work")).said, ["3"]);
  });
});

describe("the state of a gateway", () => {
  it("begins a client's conversation with what it said to Go PicoClaw, and not again once it was deleted", async () => {
    await using home = await modelHome();
    await writeGoSession(home.sessions, "agent:main:mqtt:direct:kitchen", "then");
    const options = {
      env: { PICOCLAW_HOME: home.path },
      home: home.path,
      cwd: home.path,
      flags: {},
    };
    const loaded = await loadConfig(options);
    assert.ok("config" in loaded);
    const kitchen = laneOf({ channel: "mqtt", client: "kitchen" });
    const open = () => openState({ config: loaded.config, channels: [], log: SILENT });
    const first = await open();
    const histories = await Promise.all([
      first.store.history(kitchen),
      first.store.history(kitchen),
      first.store.history(laneOf({ channel: "cli", client: "agent:main:mqtt:direct:kitchen" })),
    ]);
    const then = [
      { role: "user", text: "then" },
      { role: "assistant", text: "long ago" },
    ];
    assert.deepEqual(histories, [then, then, []]);
    assert.equal((await first.store.conversation(kitchen)).turns.length, 1);
    await first.store.erase(kitchen);
    await first.close();
    const second = await open();
    assert.deepEqual(await second.store.history(kitchen), []);
    await second.close();
  });

  it("gives nobody the words of a client of another broker who calls itself the same", async () => {
    await using home = await modelHome();
    await writeGoSession(home.sessions, "agent:main:mqtt:direct:kitchen", "then");
    const file = join(home.path, "config.json");
    const former: unknown = JSON.parse(await readFile(file, "utf8"));
    const settings = { broker: "tcp://127.0.0.1:1883", agent_id: "a" };
    const channel = { type: "mqtt", enabled: true, settings };
    const channel_list = { mqtt: channel, public: channel };
    await writeFile(file, JSON.stringify({ ...Object(former), channel_list }));
    const options = {
      env: { PICOCLAW_HOME: home.path },
      home: home.path,
      cwd: home.path,
      flags: {},
    };
    const loaded = await loadConfig(options);
    assert.ok("config" in loaded);
    const { config } = loaded;
    assert.deepEqual(config.channels.map(({ name }) => name).toSorted(), ["mqtt", "public"]);
    const state = await openState({ config, channels: config.channels, log: SILENT });
    for (const { name } of config.channels) {
      const lane = laneOf({ channel: name, client: "kitchen" });
      assert.deepEqual(await state.store.history(lane), []);
    }
    await state.close();
  });
});
