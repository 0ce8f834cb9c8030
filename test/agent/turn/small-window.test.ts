import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openAgent } from "../../../src/agent/agent.ts";
import type { WindowSource } from "../../../src/agent/model/context-window.ts";
import { isSmallWindow } from "../../../src/agent/small-window.ts";
import { FRAME_RULE } from "../../../src/agent/untrusted-content/frame.ts";
import { writeTemplates } from "../../../src/agent/workspace/templates.ts";
import { SILENT } from "../../../src/base/log.ts";
import type { AgentDefaults, ToolProfile } from "../../../src/config/contract.ts";
import { agentConfig, collect, modelEntry, toolProfile } from "../../support/agent-config.ts";
import { answers, calls, refuses, startModelServer } from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import { temporaryFolder } from "../../support/temporary.ts";

let server: ModelServer;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => {
  [server, folder] = await Promise.all([startModelServer(), temporaryFolder()]);
  server.otherwise(answers("yes"));
});
afterEach(async () => {
  await server.close();
  await folder[Symbol.asyncDispose]();
});

const signal = new AbortController().signal;
const TOPICS = { read: ["home/#"], publish: ["home/#"] };
const PANEL = toolProfile({ tools: ["device", "memory", "use_skill", "mqtt"], topics: TOPICS });
const EVERYTHING = toolProfile({ tools: ["*"], read: ["/"], write: ["/"], topics: TOPICS });

interface Facts {
  readonly defaults?: Partial<AgentDefaults>;
  readonly profile?: ToolProfile;
}

async function openTest({ defaults, profile }: Facts = {}) {
  const entry = modelEntry({ api_base: server.base });
  const config = agentConfig([entry], { workspace: folder.path, max_llm_retries: 0, ...defaults });
  const profiles = profile === undefined ? [] : [profile];
  const exec = { ...config.tools.exec, sandbox: "none" as const };
  const topics = {
    trees: () => ["/picoclaw/edge"],
    read: async () => ({ messages: [], isCut: false }),
    publish: async () => ({ noMatchingSubscribers: false }),
  };
  const tools = { ...config.tools, exec, profiles };
  const agent = await openAgent({ config: { ...config, tools }, log: SILENT, topics });
  return {
    async say(text: string) {
      const turn = { text, client: "kitchen", isRemote: true, history: async () => [], signal };
      return (await collect(agent.answer(turn))).text;
    },
    [Symbol.asyncDispose]: () => agent.close(),
  };
}

/** What the last call to the model carried besides the question. */
function sent() {
  const { tools = [], messages = [] } = server.requests.at(-1)?.body ?? {};
  const system = messages[0]?.content ?? "";
  const before = messages.slice(1, -1).map(({ content }) => content ?? "");
  return {
    names: tools.map((tool) => tool.function.name),
    tools: JSON.stringify(tools),
    system,
    before: before.join("\n"),
    characters: system.length + JSON.stringify(tools).length + before.join("").length,
  };
}

async function sentTo(facts: Facts) {
  await using agent = await openTest(facts);
  await agent.say("?");
  return sent();
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(folder.path, path)), { recursive: true });
  await writeFile(join(folder.path, path), text);
}

describe("the prompt and the tools", () => {
  // With the preface of 45, counted by o200k: 975 tokens, in a small window 564; with every tool 2,255 and 900.
  const SIZES: readonly (readonly [string, Facts, number])[] = [
    ["a client", { defaults: { context_window: 128_000 } }, 4_400],
    ["a client of a small window", { defaults: { context_window: 4096 } }, 2_550],
    ["everything", { defaults: { context_window: 128_000 }, profile: EVERYTHING }, 9_850],
    [
      "everything for a small window",
      { defaults: { context_window: 4096 }, profile: EVERYTHING },
      4_000,
    ],
  ];
  for (const [name, facts, most] of SIZES) {
    it(`of ${name} have at most ${most} characters`, async () => {
      await writeTemplates(folder.path);
      const { characters } = await sentTo(facts);
      assert.ok(characters <= most, `${characters} characters`);
    });
  }

  it("of a small window are few and short, and have the rules of safety", async () => {
    await writeTemplates(folder.path);
    const full = await sentTo({ defaults: { context_window: 128_000 }, profile: EVERYTHING });
    for (const name of ["spawn", "spawn_status", "subagent", "web_fetch", "edit_file"]) {
      assert.ok(full.names.includes(name), name);
    }
    const few = await sentTo({ defaults: { context_window: 4096 }, profile: EVERYTHING });
    const names = "device memory exec read_file write_file list_dir use_skill mqtt".split(" ");
    assert.deepEqual(few.names, names);
    assert.doesNotMatch(few.tools, /send-keys|hours_back|retain/);
    assert.match(few.tools, /Only for these paths and all below them/);
    for (const rule of [
      FRAME_RULE,
      /Measure with your tools, never guess/,
      /client and its rights/,
    ]) {
      assert.ok(typeof rule === "string" ? few.system.includes(rule) : rule.test(few.system));
    }
    assert.match(few.system, /# AGENT\.md\n\nYou look after the device/);
    assert.match(few.before, /may not change things for everyone/);
    const { names: own } = await sentTo({ defaults: { context_window: 4096 } });
    assert.deepEqual(own, ["device", "memory", "use_skill"]);
    const { names: panel } = await sentTo({ defaults: { context_window: 4096 }, profile: PANEL });
    assert.deepEqual(panel, ["device", "memory", "use_skill", "mqtt"]);
  });

  it("of a small window have the tools that the owner chose", async () => {
    await write("AGENT.md", "---\ntools: [device, web_fetch, spawn]\n---\nBe short.\n");
    const { names, tools } = await sentTo({ defaults: { context_window: 4096 } });
    assert.deepEqual(names, ["device", "web_fetch"]);
    assert.match(tools, /"Measures this device\."/);
  });

  it("are whole where the window is a guess", async () => {
    const small = await sentTo({ defaults: { context_window: 0, max_tokens: 500 } });
    assert.ok(small.names.includes("web_fetch"));
    const sources: readonly WindowSource[] = ["configured", "server", "learned", "guess"];
    const found = sources.filter((source) => isSmallWindow({ tokens: 4096, source }));
    assert.deepEqual(found, ["configured", "server", "learned"]);
    assert.ok(!isSmallWindow({ tokens: 8000, source: "server" }));
  });

  it("change once, when a small window is learned, and then stay the same", async () => {
    await using agent = await openTest();
    const asked: string[] = [];
    for (const text of ["one", "two", "three"]) {
      if (text === "two") {
        const why = { error: { code: "context_length_exceeded", message: "too long" } };
        server.script(refuses(400, why), answers("well"));
        // Nothing can be left out of a question, so it fails.
        await agent.say("word ".repeat(500)).catch(() => undefined);
      }
      await agent.say(text);
      await agent.say(text);
      const { names, tools, system } = sent();
      asked.push(`${system}${tools}`);
      assert.equal(names.includes("web_fetch"), text === "one");
    }
    assert.equal(new Set(asked).size, 2);
  });

  it("of a small window have the newest lines of the notes", async () => {
    const lines = Array.from({ length: 400 }, (_, index) => `- fact ${index}`);
    await write("memory/MEMORY.md", `# Memory\n${lines.join("\n")}\n`);
    const { before } = await sentTo({ defaults: { context_window: 128_000 } });
    assert.match(before, /- fact 0\n/);
    const short = await sentTo({ defaults: { context_window: 4096 } });
    assert.match(short.before, /\n…\n- fact 3\d\d\n[\s\S]*- fact 399\n/);
    assert.ok(short.before.length < 2_000);
  });
});

describe("the result of a tool", () => {
  it("is cut for a small window", async () => {
    await write("jobs/long.txt", "0123456789\n".repeat(2_000));
    const read = { name: "read_file", arguments: '{"path":"jobs/long.txt"}' };
    for (const [window, most] of [[128_000, 30_000] as const, [4096, 4_500] as const]) {
      await using agent = await openTest({
        defaults: { context_window: window },
        profile: toolProfile({ tools: ["*"], read: [join(folder.path, "jobs")] }),
      });
      server.script(calls(read), answers("long"));
      await agent.say("read it");
      const result = server.requests.at(-1)?.body.messages.at(-1)?.content ?? "";
      assert.ok(result.length > most - 9_000 && result.length < most, `${result.length}`);
    }
  });
});

describe("a skill", () => {
  it("is shown to clients that have the tools it needs, and with one sentence in a short prompt", async () => {
    await writeTemplates(folder.path);
    const { system } = await sentTo({ defaults: { context_window: 128_000 } });
    assert.match(system, /name="device-care">How to look after the board\. Use it when/);
    assert.doesNotMatch(system, /name="mqtt"/);
    const panel = await sentTo({ defaults: { context_window: 4096 }, profile: PANEL });
    assert.match(panel.system, /name="device-care">How to look after the board\.</);
    assert.match(panel.system, /name="mqtt">How to look at and talk to devices over MQTT\.</);
  });

  it("that needs a tool which the client has not is no reason to offer use_skill", async () => {
    await write("skills/pump/SKILL.md", "---\nname: pump\ntools: exec, mqtt\n---\nTurn it.\n");
    assert.ok(!(await sentTo({ profile: PANEL })).names.includes("use_skill"));
    assert.ok((await sentTo({ profile: EVERYTHING })).names.includes("use_skill"));
  });
});

describe("/status", () => {
  it("says how long the prompt is, and why", async () => {
    for (const [window, line] of [
      [4096, /^Prompt: short, with few tools \(window of 4096 tokens, configured\)$/m],
      [128_000, /^Prompt: full, with all tools \(window of 128000 tokens, configured\)$/m],
      [0, /^Prompt: full, with all tools \(window of \d+ tokens, a guess\)$/m],
    ] as const) {
      await using agent = await openTest({ defaults: { context_window: window } });
      assert.match(await agent.say("/status"), line);
    }
  });
});
