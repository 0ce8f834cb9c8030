import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openAgent } from "../../../src/agent/agent.ts";
import type { Message, Turn } from "../../../src/agent/contract.ts";
import { SILENT } from "../../../src/base/log.ts";
import { at, listAt, textAt } from "../../../src/base/unknown.ts";
import { agentConfig, collect, modelEntry } from "../../support/agent-config.ts";
import { ANTHROPIC } from "../../support/anthropic-server.ts";
import { BEDROCK } from "../../support/bedrock-server.ts";
import { AZURE, CHAT } from "../../support/chat-dialect.ts";
import { sendsAll } from "../../support/dialects.ts";
import type { TestDialect } from "../../support/dialects.ts";
import { GEMINI } from "../../support/gemini-server.ts";
import { startModelServer } from "../../support/model-server.ts";
import { RESPONSES } from "../../support/responses-server.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const OLLAMA: TestDialect = { ...CHAT, name: "ollama", entry: { model: "ollama/llama" } };
const NEVER = new AbortController().signal;

/** The texts of a request in the order in which a model reads them. */
function partsOf(body: unknown): { readonly fixed: string; readonly messages: readonly unknown[] } {
  const plain: unknown = JSON.parse(
    JSON.stringify(body, (key, value: unknown) => {
      if (key === "cache_control") return undefined;
      if (!Array.isArray(value)) return value;
      return value.filter((block) => at(block, "cachePoint") === undefined);
    }),
  );
  const fixed = ["tools", "toolConfig", "system", "systemInstruction", "instructions"].map((name) =>
    at(plain, name),
  );
  const lists = ["contents", "input", "messages"].map((name) => listAt(plain, name));
  const messages = lists.find(({ length }) => length > 0) ?? [];
  return { fixed: JSON.stringify(fixed), messages };
}

/** The messages before the last message of the user that is no result of a tool. */
function beforeQuestion(messages: readonly unknown[], question: string): readonly unknown[] {
  return messages.slice(
    0,
    messages.findLastIndex((message) => JSON.stringify(message).includes(question)),
  );
}

function assertBegins(later: readonly unknown[], first: readonly unknown[], what: string): void {
  const [whole, begin] = [later, first].map((messages) => JSON.stringify(messages).slice(1, -1));
  assert.ok(whole?.startsWith(begin ?? " "), `${what}:\n${begin}\n${whole}`);
}

/** Calls and results are items of their own in Responses. */
const ITEM_ROLES = new Map([
  ["reasoning", "assistant"],
  ["function_call", "assistant"],
  ["function_call_output", "tool"],
]);

/** Asserts that no two neighbours have one role: a preface and its question are one message, or a pair stands between. */
function assertInTurns(messages: readonly unknown[]): void {
  const roles = messages.map(
    (message) => textAt(message, "role") || ITEM_ROLES.get(textAt(message, "type")),
  );
  const outgoing = roles.filter((role) => role !== "tool" && role !== "system");
  for (const [index, role] of outgoing.entries()) {
    const isResult = roles.includes("tool") && role === "assistant";
    assert.ok(isResult || role !== outgoing[index - 1], roles.join(" "));
  }
}

/** An agent with a skill, whose model first calls a tool in each turn. */
async function converse(dialect: TestDialect, turns: readonly Partial<Turn>[]) {
  await using folder = await temporaryFolder();
  await using server = await startModelServer();
  const skill = join(folder.path, "skills", "pump");
  await mkdir(skill, { recursive: true });
  await writeFile(join(skill, "SKILL.md"), "---\nname: pump\ndescription: pumps\n---\nTurn it.\n");
  const entry = modelEntry({ api_base: server.base, ...dialect.entry });
  const config = agentConfig([entry], { workspace: folder.path });
  const agent = await openAgent({ config, log: SILENT });
  const history: Message[] = [];
  for (const turn of turns) {
    const call = { name: "device", arguments: '{"facts":["uptime"]}' };
    server.script(
      sendsAll(dialect, dialect.events({ toolCalls: [call] })),
      sendsAll(dialect, dialect.events({ text: "well" })),
    );
    const before = [...history];
    const asked = { text: "one", client: "kitchen", signal: NEVER, history: async () => before };
    const { result } = await collect(agent.answer({ ...asked, ...turn }));
    history.push(...result.messages);
  }
  await agent.close();
  return server.requests.map(({ body }) => partsOf(body));
}

for (const dialect of [CHAT, AZURE, RESPONSES, OLLAMA, ANTHROPIC, GEMINI, BEDROCK]) {
  describe(`the prompt of a conversation over ${dialect.name}`, () => {
    it("begins with the whole prompt of the turn before, whatever changes", async () => {
      const texts = ["first question", "second question", "third question"];
      const [first = "", second = "", third = ""] = texts;
      const cut = { id: "cut", name: "device", arguments: '{"facts":["cpu"]}' };
      const resumed: Message[] = [{ role: "assistant", text: "", toolCalls: [cut] }];
      const requests = await converse(dialect, [
        { text: `/use pump ${first}`, isRemote: true, isAdmin: true },
        { text: second, isRemote: true, isAdmin: false, resumed },
        { text: third, isRemote: true },
      ]);
      assert.equal(requests.length, 6);
      assert.equal(new Set(requests.map(({ fixed }) => fixed)).size, 1);
      for (const turn of [0, 1]) {
        const [opening, tools, next] = requests.slice(2 * turn).map(({ messages }) => messages);
        assert.ok(opening && tools && next);
        assertInTurns(opening);
        assertBegins(tools, opening, "a round of tools");
        const before = beforeQuestion(next, texts[turn + 1] ?? "");
        assertBegins(before, beforeQuestion(opening, texts[turn] ?? ""), "the next turn");
        // The questions with all that stands before them, too: they are stored as they were sent.
        assertBegins(before, opening, "the question");
        // Ids and signatures of providers exist only within a turn.
        if (!dialect.signs) assertBegins(before, tools, "the tool results");
      }
    });
  });
}
