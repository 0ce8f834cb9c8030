import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { signalProcess } from "../../src/base/host.ts";
import { frameOf } from "../support/frames.ts";
import { hookProgram } from "../support/hook-program.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import type { ModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, startGateway, writeConfig, temporaryHome } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** A home as Go PicoClaw saves it, whose clients may use every tool. */
function goHome(broker: string, model: ModelServer, { defaults = {}, hooks = {} } = {}): object {
  return {
    version: 3,
    agents: {
      defaults: { restrict_to_workspace: true, model_name: "m", steering_mode: "all", ...defaults },
    },
    model_list: [{ model_name: "m", model: "openai/m", api_base: model.base }],
    channel_list: {
      mqtt: {
        enabled: true,
        type: "mqtt",
        settings: { broker, agent_id: "assistant", topic_prefix: "/picoclaw", qos: 1 },
      },
    },
    hooks: { enabled: true, defaults: { observer_timeout_ms: 500 }, ...hooks },
    tools: { exec: { enabled: true, allow_remote: true } },
  };
}

const WRITE = calls({
  name: "write_file",
  arguments: JSON.stringify({ path: "a.txt", content: "x" }),
});

describe("a Go home's restrictions hold", needsMosquitto, () => {
  it("hooks that deny all: write_file is not run, and the hook ends with the gateway", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    const answer = { approved: false, reason: "nobody writes here" };
    const program = await hookProgram(home.path, { approve_tool: answer });
    const gate = {
      enabled: true,
      priority: 100,
      transport: "stdio",
      command: program.command,
      env: program.env,
      intercept: ["approve_tool"],
    };
    const hooks = { processes: { gate } };
    await writeConfig(home.path, goHome(broker.url, model, { hooks }));
    model.script(WRITE, answers("I may not"));
    await using gateway = await startGateway({ home: home.path });
    const heard = await picoclaw(["send", "kitchen", "write it"], { home: home.path });
    assert.equal(heard.stdout, "I may not\n", heard.stderr);
    const shown = model.requests[1]?.body.messages.at(-1)?.content ?? "";
    assert.equal(
      frameOf(shown).text,
      "error: tool execution denied by approval hook: nobody writes here",
    );
    await assert.rejects(readFile(join(home.path, "workspace", "a.txt")));
    assert.match(gateway.stderr(), /"hook":"gate"/);
    const asked = await program.heard();
    assert.equal(asked[2]?.params.chat_id, "mqtt:kitchen");
    assert.equal(asked[2].params.tool, "write_file");
    gateway.kill("SIGTERM");
    assert.equal((await gateway.ended).code, 0);
    assert.ok(!signalProcess(asked[0]?.pid ?? 0, 0), "the hook outlived the gateway");
  });

  it("a hook that cannot be started: write_file is not run", async () => {
    await using model = await startModelServer();
    await using home = await temporaryFolder();
    const gate = { enabled: true, command: ["/nowhere/gate"], intercept: ["before_tool"] };
    const hooks = { processes: { gate } };
    await writeConfig(home.path, goHome("tcp://127.0.0.1:1", model, { hooks }));
    model.script(WRITE, answers("I may not"));
    const { code, stdout, stderr } = await picoclaw(["agent", "-m", "write"], { home: home.path });
    assert.equal(code, 0, stderr);
    assert.match(stdout, /I may not/);
    assert.match(stderr, /gate/);
    await assert.rejects(readFile(join(home.path, "workspace", "a.txt")));
  });

  it("a turn profile with one tool: one is offered", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    const tools = { mode: "custom", allow: ["read_file"] };
    const defaults = { turn_profile: { enabled: true, tools } };
    await writeConfig(home.path, goHome(broker.url, model, { defaults }));
    model.otherwise(answers("well"));
    await using _gateway = await startGateway({ home: home.path });
    assert.equal((await picoclaw(["send", "kitchen", "hello"], { home: home.path })).code, 0);
    const offered = model.requests[0]?.body.tools?.map(({ function: { name } }) => name);
    assert.deepEqual(offered, ["read_file"]);
  });

  it("a turn profile without a history: a PIN told once is neither stored nor replayed", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    const defaults = { turn_profile: { enabled: true, history: { mode: "off" } } };
    await writeConfig(home.path, goHome(broker.url, model, { defaults }));
    model.script(WRITE, answers("I heard it"), answers("Which PIN?"), answers("Here: none"));
    const run = (...args: readonly string[]) => picoclaw(args, { home: home.path });
    await using gateway = await startGateway({ home: home.path });
    assert.equal((await run("send", "kitchen", "My PIN is 4711-8642.")).code, 0);
    assert.equal((await run("send", "kitchen", "What is my PIN?")).stdout, "Which PIN?\n");
    assert.doesNotMatch(JSON.stringify(model.requests[2]?.body), /4711/);
    assert.equal((await run("sessions", "list")).stdout, "");
    gateway.kill("SIGTERM");
    assert.equal((await gateway.ended).code, 0);
    // At this machine it is the same.
    assert.equal((await run("agent", "-m", "My PIN is 4711-8642.")).code, 0);
    assert.equal(model.requests.length, 4);
    const holding = await filesHolding(join(home.path, "workspace"), "4711-8642");
    assert.deepEqual(holding, []);
  });

  it("with a history the same PIN is stored: the look into the files sees it", async () => {
    await using model = await startModelServer();
    await using home = await temporaryHome(goHome("tcp://127.0.0.1:1", model));
    model.otherwise(answers("I heard it"));
    const words = ["agent", "-m", "My PIN is 4711-8642."];
    assert.equal((await picoclaw(words, { home: home.path })).code, 0);
    const holding = await filesHolding(join(home.path, "workspace"), "4711-8642");
    assert.match(holding.join(" "), /picoclaw\.db/);
  });
});

async function filesHolding(folder: string, words: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = names
    .filter((each) => each.isFile())
    .map((each) => join(each.parentPath, each.name));
  const texts = await Promise.all(files.map((file) => readFile(file, "latin1")));
  assert.ok(
    files.some((file) => file.endsWith("picoclaw.db")),
    files.join(" "),
  );
  return files.filter((_, index) => texts[index]?.includes(words));
}
