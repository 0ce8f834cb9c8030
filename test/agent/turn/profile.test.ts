import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { openAgent } from "../../../src/agent/agent.ts";
import type { Turn } from "../../../src/agent/contract.ts";
import { FRAME_RULE } from "../../../src/agent/untrusted-content/frame.ts";
import { SILENT } from "../../../src/base/log.ts";
import type { HookSettings, ToolProfile, TurnProfile } from "../../../src/config/contract.ts";
import { agentConfig, collect, modelEntry, toolProfile } from "../../support/agent-config.ts";
import { hookProgram } from "../../support/hook-program.ts";
import type { HookProgram } from "../../support/hook-program.ts";
import { answers, calls, startModelServer } from "../../support/model-server.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const ended: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ended.splice(0).toReversed()) await end();
});

interface Setting {
  readonly profile?: Partial<TurnProfile>;
  readonly profiles?: readonly ToolProfile[];
  readonly hooks?: (folder: string) => Promise<HookSettings>;
  /** Without a model. */
  readonly offline?: true;
}

/** An agent with a workspace that holds everything a prompt can. */
async function open({ profile, profiles = [], hooks, offline }: Setting) {
  const folder = await temporaryFolder();
  ended.push(async () => await folder[Symbol.asyncDispose]());
  const model = await startModelServer();
  ended.push(() => model.close());
  const workspace = join(folder.path, "workspace");
  for (const skill of ["pump", "lamp"]) {
    await mkdir(join(workspace, "skills", skill), { recursive: true });
    const text = `---\nname: ${skill}\ndescription: about the ${skill}\n---\nTurn the ${skill}.\n`;
    await writeFile(join(workspace, "skills", skill, "SKILL.md"), text);
  }
  await writeFile(join(workspace, "AGENT.md"), "Water the plants.");
  await mkdir(join(workspace, "memory"));
  await writeFile(join(workspace, "memory", "MEMORY.md"), "- the pump is on GPIO 4\n");
  const turn_profile: TurnProfile = { history: "default", system_prompt: "default", ...profile };
  const entries = offline ? [] : [modelEntry({ api_base: model.base })];
  const config = agentConfig(entries, { workspace, max_llm_retries: 0, turn_profile });
  const agent = await openAgent({
    config: {
      ...config,
      tools: { ...config.tools, profiles },
      ...(hooks && { hooks: await hooks(folder.path) }),
    },
    log: SILENT,
  });
  ended.push(() => agent.close());
  const ask = (text: string, turn: Partial<Turn> = {}) => {
    const signal = new AbortController().signal;
    return collect(agent.answer({ history: async () => [], text, client: "me", signal, ...turn }));
  };
  const system = (index = 0) => {
    const { messages = [] } = model.requests[index]?.body ?? {};
    return messages.find(({ role }) => role === "system")?.content ?? "";
  };
  const offered = (index = 0) =>
    model.requests[index]?.body.tools?.map(({ function: { name } }) => name).toSorted() ?? [];
  return { agent, model, workspace, ask, system, offered };
}

const BEFORE = [
  { role: "user", text: "My PIN is 4711." },
  { role: "assistant", text: "I keep it." },
] as const;

describe("a turn profile", () => {
  it("without a history shows the model none, and keeps nothing", async () => {
    const { agent, model, ask, offered } = await open({ profile: { history: "off" } });
    model.otherwise(answers("well"));
    const { result } = await ask("What is my PIN?", { history: async () => BEFORE });
    assert.deepEqual(result.messages, []);
    assert.doesNotMatch(JSON.stringify(model.requests[0]?.body), /4711/);
    assert.equal(agent.compact, undefined);
    const names = offered();
    assert.ok(names.includes("subagent"));
    assert.ok(!names.includes("spawn") && !names.includes("spawn_status"), names.join(" "));
  });

  it("without a history keeps what a command forgets", async () => {
    const { ask } = await open({ profile: { history: "off" } });
    const { result } = await ask("/clear", { history: async () => BEFORE });
    assert.deepEqual(result, { messages: [], forget: true });
  });

  it("with tools offers these alone, and runs no other", async () => {
    const tools = new Set(["read_file"]);
    const { model, workspace, ask, offered } = await open({ profile: { tools } });
    const write = JSON.stringify({ path: "a.txt", content: "x" });
    model.script(calls({ name: "write_file", arguments: write }), answers("done"));
    await ask("write it");
    assert.deepEqual(offered(), ["read_file"]);
    await assert.rejects(readFile(join(workspace, "a.txt")));
    assert.match(model.requests[1]?.body.messages.at(-1)?.content ?? "", /error: there is no tool/);
  });

  it("with no tools offers none", async () => {
    const { model, ask, offered, system } = await open({ profile: { tools: new Set() } });
    model.otherwise(answers("well"));
    await ask("hello");
    assert.deepEqual(offered(), []);
    assert.match(system(), /You are picoclaw/);
  });

  it("and a profile of the client leave what both allow", async () => {
    const tools = new Set(["device", "read_file"]);
    const profiles = [toolProfile({ tools: ["device", "web_fetch"] })];
    const { model, ask, offered } = await open({ profile: { tools }, profiles });
    model.otherwise(answers("well"));
    await ask("hello", { client: "kitchen", channel: "mqtt", isRemote: true });
    assert.deepEqual(offered(), ["device"]);
  });

  it("holds for tasks of the question, too", async () => {
    const tools = new Set(["subagent", "read_file"]);
    const { model, ask, offered } = await open({ profile: { tools } });
    const task = JSON.stringify({ task: "look" });
    model.script(calls({ name: "subagent", arguments: task }), answers("dry"), answers("all dry"));
    await ask("is it dry?");
    assert.deepEqual(offered(1), ["read_file", "subagent"]);
  });

  it("holds without a model, too", async () => {
    const { ask } = await open({ profile: { tools: new Set(["read_file"]) }, offline: true });
    assert.match((await ask("what is the uptime?")).text, /may not ask about the device/);
  });

  it("without a system prompt tells the model neither files nor memory nor skills", async () => {
    const { model, ask, offered, system } = await open({ profile: { system_prompt: "off" } });
    model.otherwise(answers("well"));
    await ask("hello");
    const { messages = [] } = model.requests[0]?.body ?? {};
    assert.equal(messages.length, 2);
    assert.doesNotMatch(JSON.stringify(messages), /picoclaw|plants|GPIO|pump|talk with/);
    assert.ok(system().includes(FRAME_RULE), "what tools read stays apart from instructions");
    assert.ok(!offered().includes("use_skill"));
  });

  it("without a system prompt and without tools says nothing before the question", async () => {
    const profile = { system_prompt: "off", tools: new Set<string>() } as const;
    const { model, ask } = await open({ profile });
    model.otherwise(answers("well"));
    await ask("hello");
    assert.deepEqual(model.requests[0]?.body.messages, [{ role: "user", content: "hello" }]);
  });

  it("without skills knows none", async () => {
    const { model, ask, offered, system } = await open({ profile: { skills: new Set() } });
    model.otherwise(answers("well"));
    await ask("hello");
    assert.doesNotMatch(system(), /pump|lamp/);
    assert.match(system(), /Water the plants/);
    assert.ok(!offered().includes("use_skill"));
    assert.match((await ask("/use pump now")).text, /There is no skill "pump"/);
  });

  it("with skills knows these alone", async () => {
    const { model, ask, offered, system } = await open({ profile: { skills: new Set(["lamp"]) } });
    model.otherwise(answers("well"));
    await ask("hello");
    assert.match(system(), /about the lamp/);
    assert.doesNotMatch(system(), /about the pump/);
    assert.ok(offered().includes("use_skill"));
    assert.match((await ask("/use pump now")).text, /There is no skill "pump"/);
  });
});

const LIMITS = { interceptor_timeout_ms: 10_000, approval_timeout_ms: 10_000 };

async function denying(folder: string): Promise<HookSettings> {
  const program = await hookProgram(folder, { approve_tool: { approved: false } });
  return { ...LIMITS, processes: [program.settings(["approve_tool"])] };
}

describe("hooks of an agent", () => {
  it("are asked about the calls of tasks, too", async () => {
    let program: HookProgram | undefined;
    const { model, ask } = await open({
      async hooks(folder) {
        program = await hookProgram(folder, { before_tool: { action: "continue" } });
        return { ...LIMITS, processes: [program.settings(["before_tool"])] };
      },
    });
    model.script(
      calls({ name: "subagent", arguments: JSON.stringify({ task: "look" }) }),
      calls({ name: "device", arguments: '{"facts":["uptime"]}' }),
      answers("up"),
      answers("it is up"),
    );
    assert.equal((await ask("is it up?")).text, "it is up");
    const asked = (await program?.heard())?.filter(({ method }) => method === "hook.before_tool");
    assert.deepEqual(
      asked?.map(({ params }) => params.tool),
      ["subagent", "device"],
    );
  });

  it("that deny leave the task of a question nothing", async () => {
    const { model, ask } = await open({ hooks: denying });
    model.script(
      calls({ name: "subagent", arguments: JSON.stringify({ task: "look" }) }),
      answers("I may not"),
    );
    await ask("is it up?");
    assert.equal(model.requests.length, 2);
    const shown = model.requests[1]?.body.messages.at(-1)?.content ?? "";
    assert.match(shown, /tool execution denied by approval hook/);
  });

  it("are asked where no model is configured, too", async () => {
    const { ask } = await open({ hooks: denying, offline: true });
    const { text } = await ask("what is the uptime?");
    assert.equal(text, "error: tool execution denied by approval hook");
  });
});
