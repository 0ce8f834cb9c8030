import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import * as fc from "fast-check";
import { createCommands } from "../../../src/agent/commands/commands.ts";
import type { CommandContext } from "../../../src/agent/commands/contract.ts";
import type { Message, Turn } from "../../../src/agent/contract.ts";
import { openWorkspace } from "../../../src/agent/workspace/workspace.ts";
import { Failure } from "../../../src/base/failure.ts";
import { SILENT } from "../../../src/base/log.ts";
import { collect } from "../../support/agent-config.ts";
import { temporaryFolder } from "../../support/temporary.ts";

let home: Awaited<ReturnType<typeof temporaryFolder>>;
before(async () => {
  home = await temporaryFolder();
  await mkdir(join(home.path, "skills/pump"), { recursive: true });
  await mkdir(join(home.path, "full/memory"), { recursive: true });
  await writeFile(
    join(home.path, "skills/pump/SKILL.md"),
    "---\nname: pump\ndescription: pumps\n---\nTurn it.",
  );
  await writeFile(join(home.path, "full/memory/MEMORY.md"), "- GPIO 4\n");
  await writeFile(join(home.path, "full/AGENT.md"), "---\nname: Bob\n---\n");
});
after(() => home[Symbol.asyncDispose]());

const HISTORY: readonly Message[] = [
  { role: "summary", text: "they met" },
  { role: "user", text: "hi" },
  { role: "assistant", text: "hello" },
];

function contextOf(changes: Partial<CommandContext> = {}, folder = "full"): CommandContext {
  let current = "small";
  const list = [
    { name: "small", provider: "openai" },
    { name: "large", provider: "anthropic" },
  ];
  return {
    models: {
      list: () => list,
      current: () => list.find(({ name }) => name === current),
      switchTo: async (name) => void (current = name),
    },
    tools: async () => [
      { name: "device", description: "Measures the device, e.g. its disk. More words." },
      { name: "exec", description: "runs" },
    ],
    allows: () => true,
    channels: () => ["mqtt", "second"],
    servers: () => [
      { name: "files", isConnected: true, tools: 14 },
      { name: "far", isConnected: false, tools: 2 },
    ],
    workspace: openWorkspace({
      folder: join(home.path, folder),
      home: home.path,
      builtin: "",
      now: () => new Date(),
      log: SILENT,
    }),
    memory: async () => (folder === "full" ? "- GPIO 4" : "The memory is empty."),
    device: async () => "CPU usage is 3 %.",
    uptime: () => 7_200,
    window: () => 1_000,
    prompt: () => "short, with few tools (window of 1000 tokens, configured)",
    tokens: (messages) => messages.length * 10,
    channelStatus: () => [],
    tasks: ({ client }) =>
      client === "busy"
        ? [
            { id: "task-1", label: "look", state: "running", seconds: 12.3 },
            { id: "task-2", label: "old", state: "done", seconds: 1 },
          ]
        : [],
    reload: async () => "2 settings changed.",
    async *answer(turn, skills = []) {
      yield `answer to ${turn.text}`;
      const names = skills.map(({ name }) => name).join();
      return {
        messages: [
          { role: "user", text: turn.text },
          {
            role: "assistant",
            text: `by ${names || "none"} after ${(await turn.history()).length}`,
          },
        ],
        usage: { inputTokens: 1, outputTokens: 2 },
      };
    },
    ...changes,
  };
}

/** Without a model, and without anything else that may be missing. */
function offline(): CommandContext {
  const { answer, reload, ...context } = contextOf({}, "empty");
  assert.ok(answer !== undefined && reload !== undefined);
  const models = { list: () => [], current: () => undefined, switchTo: async () => {} };
  return { ...context, models, tools: async () => [], channels: () => [], servers: () => [] };
}

function turnOf(text: string, facts: Partial<Turn> = {}): Turn {
  return {
    history: async () => HISTORY,
    text,
    client: "tester",
    signal: new AbortController().signal,
    ...facts,
  };
}

async function said(text: string, context = contextOf(), facts: Partial<Turn> = {}) {
  const answer = createCommands(context).answer(turnOf(text, facts));
  assert.ok(answer !== undefined, `${text} is no command`);
  return await collect(answer);
}

const STATUS =
  "CPU usage is 3 %.\nCurrent Model: small (Provider: openai)\nPrompt: short, with few tools (window of 1000 tokens, configured)\nConversation: 2 messages, about 30 tokens (3.0 % of the window)\nRunning for 2 hours";
const ANSWERS: readonly (readonly [string, string])[] = [
  ["/start", "Hello! I am PicoClaw 🦞"],
  ["!START", "Hello! I am PicoClaw 🦞"],
  ["  /Start  \n", "Hello! I am PicoClaw 🦞"],
  ["/stop", "Nothing to stop."],
  ["/clear", "Chat history cleared!"],
  ["/clear the table", "Unknown option: the table. Usage: /clear"],
  ["/status", STATUS],
  ["/model", "Current Model: small (Provider: openai)"],
  ["/tools", "Available Tools:\n- device: Measures the device, e.g. its disk.\n- exec: runs"],
  ["/context", "Messages: 2\nEstimated tokens: 30 (3.0 % of the window)\nSummary: yes"],
  ["/memory", "- GPIO 4"],
  ["/show  MODEL", "Current Model: small (Provider: openai)"],
  ["/show channel", "Current Channel: cli"],
  ["/show agents", "Agents:\n- main (Bob)"],
  ["/show", "Usage: /show [model|channel|agents]"],
  ["/show fuel", "Unknown option: fuel. Usage: /show [model|channel|agents]"],
  [
    "/list models",
    "Available Models:\n- small (Provider: openai), current\n- large (Provider: anthropic)",
  ],
  ["/list channels", "Enabled Channels:\n- mqtt\n- second"],
  ["/list agents", "Agents:\n- main (Bob)"],
  ["/list mcp", "MCP Servers:\n- files: 14 tools\n- far: not connected"],
  ["/list skills", "Available Skills:\n- pump: pumps"],
  ["/list", "Usage: /list [models|channels|agents|skills|mcp]"],
  [
    "/list x\u001b[2J",
    "Unknown option: x\\x1b[2J. Usage: /list [models|channels|agents|skills|mcp]",
  ],
  ["/use", "Usage: /use <skill> [message] | clear"],
  ["/use clear", "No skill was chosen."],
  ["/use pumb", 'There is no skill "pumb", did you mean pump? Skills are: pump.'],
  ["/btw", "Usage: /btw <question>"],
  ["/btw who\nare you?", "answer to who\nare you?"],
  ["/switch model to large", "Switched model from small to large"],
  ["/switch  Model  TO  large ", "Switched model from small to large"],
  [
    "/switch model to larg",
    'There is no model "larg", did you mean large? Models are: small, large.',
  ],
  ["/switch model", "Usage: /switch model to <name>"],
  ["/switch", "Usage: /switch model to <name>"],
  ["/switch channel", "Unknown option: channel. Usage: /switch model to <name>"],
  ["/check channel mqtt", "Channel 'mqtt' is available and enabled"],
  ["/check channel irc", "Channel 'irc' is not enabled"],
  ["/check channel", "Usage: /check channel <name>"],
  ["/check", "Usage: /check channel <name>"],
  ["/check oil", "Unknown option: oil. Usage: /check channel <name>"],
  ["/subagents", "No active tasks running in this session."],
  ["/reload", "Config reload triggered!\n2 settings changed."],
];

describe("a command", () => {
  for (const [text, expected] of ANSWERS) {
    it(`${JSON.stringify(text)} is answered and not remembered`, async () => {
      const { text: answer, result } = await said(text);
      assert.equal(answer, expected);
      assert.deepEqual(result.messages, []);
      assert.equal(result.forget, text === "/clear" ? true : undefined);
    });
  }

  for (const [text, expected] of [
    ["/model", "No model is configured."],
    ["/list models", "No model is configured."],
    ["/switch model to x", "No model is configured."],
    ["/use pump", "No model is configured."],
    ["/btw hello", "No model is configured."],
    ["/tools", "No tools are available."],
    ["/list channels", "No channels enabled"],
    ["/list agents", "Agents:\n- main"],
    ["/list mcp", "No MCP servers are enabled."],
    ["/memory", "The memory is empty."],
    ["/clear", "Chat history cleared!"],
    ["/reload", "Failed to reload configuration: this program has to be started again instead"],
  ] as const) {
    it(`${text} is answered without a model too`, async () => {
      assert.equal((await said(text, offline())).text, expected);
    });
  }

  it("/help names every command with its usage", async () => {
    const { text } = await said("/help");
    for (const [command] of ANSWERS) {
      const name = /[a-z]+/i.exec(command)?.[0].toLowerCase() ?? "";
      assert.match(text, new RegExp(`^- /${name}[ :]`, "m"));
    }
    assert.match(text, /^- \/switch model to <name>: .* \(administrators only\)$/m);
  });

  it("that changes things for everyone is for administrators and who is at the machine", async () => {
    for (const text of ["/reload", "/switch model to large"]) {
      const remote = { isRemote: true };
      assert.match((await said(text, contextOf(), remote)).text, /administrators only.*admin_from/);
      const admin = await said(text, contextOf(), { ...remote, isAdmin: true });
      assert.match(admin.text, /^(Config reload|Switched model)/);
    }
    assert.equal(
      (await said("/show channel", contextOf(), { isRemote: true })).text,
      "Current Channel: mqtt",
    );
  });

  it("tells what went wrong without what is none of the client's business", async () => {
    const why = { why: "/home/ada/.picoclaw/config.json:3" };
    const reload = () => Promise.reject(new Failure("config", "the file is no JSON", why));
    const { text } = await said("/reload", contextOf({ reload }));
    assert.equal(text, "Failed to reload configuration: the file is no JSON");
    await assert.rejects(
      said("/reload", contextOf({ reload: () => Promise.reject(new Error("a bug")) })),
      /a bug/,
    );
  });

  it("/status tells of other gateways on one line, whatever they call themselves", async () => {
    const line = "mqtt: every request is answered twice\n\u001b[2J";
    const { text } = await said("/status", contextOf({ channelStatus: () => [line] }));
    assert.ok(text.includes("\nmqtt: every request is answered twice\\n\\x1b[2J\n"), text);
  });

  it("/subagents tells of the client's own tasks that are not done", async () => {
    const { text } = await said("/subagents", contextOf(), { client: "busy" });
    assert.equal(text, "Active Tasks:\n- task-1 (running, 12 s): look");
  });

  it("ends when its turn is stopped", async () => {
    const signal = AbortSignal.abort(new Error("stopped"));
    await assert.rejects(said("/help", contextOf(), { signal }), /stopped/);
  });
});

describe("a skill that is chosen", () => {
  it("with a message is used for it, and that turn is remembered", async () => {
    const { text, result } = await said("/use PUMP  do it\nnow ");
    assert.equal(text, "answer to do it\nnow");
    assert.deepEqual(result.messages, [
      { role: "user", text: "do it\nnow" },
      { role: "assistant", text: "by pump after 3" },
    ]);
    assert.deepEqual(result.usage, { inputTokens: 1, outputTokens: 2 });
  });

  it("is used for the next message of that client alone, once, unless it is put away", async () => {
    const commands = createCommands(contextOf());
    const ask = async (text: string, client = "tester") => {
      const answer = commands.answer(turnOf(text, { client }));
      return answer === undefined
        ? undefined
        : (await collect(answer)).result.messages.at(-1)?.text;
    };
    await ask("/use pump");
    await ask("/help");
    assert.equal(await ask("go", "other"), undefined);
    assert.equal(await ask("go"), "by pump after 3");
    assert.equal(await ask("go"), undefined);
    await ask("/use pump");
    await ask("/use clear");
    assert.equal(await ask("go"), undefined);
    for (let number = 0; number <= 100; number += 1) await ask("/use pump", `client-${number}`);
    assert.equal(await ask("go", "client-0"), undefined);
    assert.equal(await ask("go", "client-1"), "by pump after 3");
  });
});

describe("what is no command", () => {
  for (const text of [
    "hello",
    "/unknown",
    "/ help",
    "/help!",
    "//help",
    "say /help",
    "",
    "/",
    "/stop.",
  ]) {
    it(`${JSON.stringify(text)} goes to the model`, () => {
      assert.equal(createCommands(contextOf()).answer(turnOf(text)), undefined);
    });
  }

  it("is every text whose first word is none", () => {
    const commands = createCommands(contextOf());
    const names = ["start", "help", "constructor", "__proto__", "toString"];
    fc.assert(
      fc.property(
        fc.constantFrom("", "/", "!", "x", "/x"),
        fc.constantFrom(...names, "é"),
        fc.string(),
        (mark, name, rest) => {
          const text = `${mark}${name}${rest}`;
          const isCommand = /^\s*[/!](start|help)(\s|$)/.test(text);
          assert.equal(commands.answer(turnOf(text)) !== undefined, isCommand);
        },
      ),
    );
  });
});
