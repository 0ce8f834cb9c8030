import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { isAlive } from "../support/commands.ts";
import { frameOf } from "../support/frames.ts";
import { openSdkServer } from "../support/mcp-sdk-server.ts";
import { FILESYSTEM, MCP_PROGRAM } from "../support/mcp.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import type { ModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  modelConfig,
  picoclaw,
  startGateway,
  temporaryHome,
  writeConfig,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const SECRET = "s3cret-of-the-server";

const toolsOf = (model: ModelServer, index: number): readonly string[] =>
  (model.requests[index]?.body.tools ?? []).map((tool) => tool.function.name);

const resultsOf = (model: ModelServer): readonly string[] =>
  (model.requests.at(-1)?.body.messages ?? [])
    .filter(({ role }) => role === "tool")
    .map(({ content }) => frameOf(content).text);

const call = (name: string, input: object = {}) =>
  calls({ name, arguments: JSON.stringify(input) });

describe("tools of MCP servers", needsMosquitto, () => {
  it("are a client's if its profile says so, found by a search, and survive the end of their server", async () => {
    await using broker = await startMosquitto();
    await using model = await startModelServer();
    await using folder = await temporaryFolder();
    const heard = join(folder.path, "heard");
    const shared = join(folder.path, "shared");
    await mkdir(shared);
    await writeFile(join(shared, "note.txt"), "buy milk");
    const plan = {
      tools: [
        { name: "env", does: "env" },
        { name: "die", does: "die" },
      ],
      heard,
    };
    await using far = await openSdkServer();
    const servers = {
      far: { enabled: true, url: `${far.base}/mcp` },
      files: { enabled: true, command: "node", args: [FILESYSTEM, shared], deferred: true },
      own: {
        enabled: true,
        command: "node",
        args: [MCP_PROGRAM, JSON.stringify(plan)],
        env: { OWN_TOKEN: SECRET },
      },
    };
    const tools = {
      mcp: { enabled: true, servers },
      profiles: { kitchen: { tools: ["files.read_text_file", "own.*", "far.shout"] } },
    };
    await using home = await temporaryHome({ ...modelConfig(broker.url, model.base), tools });
    await using gateway = await startGateway({ home: home.path });
    await until("all are connected", () => {
      return gateway.stderr().split("connected to an MCP server").length === 4;
    });
    const ask = (client: string, text: string) =>
      picoclaw(["send", client, text], { home: home.path });

    model.script(
      call("tool_search_tool_bm25", { query: "read a text file" }),
      call("mcp_files_read_text_file", { path: join(shared, "note.txt") }),
      answers("Milk."),
    );
    const found = await ask("kitchen", "What is on the note?");
    assert.equal(found.stdout.trim(), "Milk.", found.stderr);
    assert.deepEqual(toolsOf(model, 0), [
      "mcp_far_shout",
      "mcp_own_env",
      "mcp_own_die",
      "tool_search_tool_bm25",
    ]);
    assert.ok(toolsOf(model, 1).includes("mcp_files_read_text_file"));
    assert.ok(!toolsOf(model, 1).includes("mcp_files_write_file"));
    assert.match(resultsOf(model).at(-1) ?? "", /buy milk/);

    model.script(
      call("mcp_far_shout", { word: "hello" }),
      call("mcp_own_env"),
      call("mcp_own_die"),
      answers("It died."),
    );
    assert.equal((await ask("kitchen", "Go on.")).stdout.trim(), "It died.");
    const [, , shouted, env = "", died = ""] = resultsOf(model);
    assert.equal(shouted, "HELLO");
    assert.match(env, /"OWN_TOKEN":"\[FILTERED\]"/);
    assert.match(died, /^error: the MCP server own failed: it ended with 4/);
    await until("it is connected again", () => {
      return gateway.stderr().split("connected to an MCP server").length === 5;
    });

    const listed = await ask("kitchen", "/list mcp");
    assert.equal(
      listed.stdout.trim(),
      "MCP Servers:\n- far: 2 tools\n- files: 14 tools\n- own: 2 tools",
    );

    model.script(call("mcp_files_read_text_file", { path: "/x" }), answers("I may not."));
    assert.equal((await ask("hall", "Read it.")).stdout.trim(), "I may not.");
    assert.ok(
      !toolsOf(model, model.requests.length - 1).some((name) => /^mcp|search_tool/.test(name)),
    );
    assert.doesNotMatch(gateway.stderr(), new RegExp(SECRET));

    gateway.kill("SIGTERM");
    await gateway.ended;
    const pids = [...(await readFile(heard, "utf8")).matchAll(/^pid (\d+)$/gm)].map(
      ([, pid]) => pid,
    );
    assert.equal(pids.length, 2);
    for (const pid of pids) assert.ok(!(await isAlive(Number(pid))));
  });

  it("end with a gateway that is killed", { skip: process.platform !== "linux" }, async () => {
    await using broker = await startMosquitto();
    await using model = await startModelServer();
    await using folder = await temporaryFolder();
    const heard = join(folder.path, "heard");
    const own = { enabled: true, command: "node", args: [MCP_PROGRAM, JSON.stringify({ heard })] };
    await using home = await temporaryHome({});
    const tools = { mcp: { enabled: true, servers: { own } } };
    await writeConfig(home.path, { ...modelConfig(broker.url, model.base), tools });
    await using gateway = await startGateway({ home: home.path });
    await until("it runs", () => existsSync(heard));
    const [, pid = ""] = /pid (\d+)/.exec(await readFile(heard, "utf8")) ?? [];
    gateway.kill("SIGKILL");
    await gateway.ended;
    await until("it is gone", async () => !(await isAlive(Number(pid))));
  });
});
