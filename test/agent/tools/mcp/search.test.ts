import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FULL_ACCESS } from "../../../../src/agent/access/permissions.ts";
import type { Message } from "../../../../src/agent/contract.ts";
import type { Tool } from "../../../../src/agent/tools/contract.ts";
import { callContextOf } from "../../../../src/agent/tools/run.ts";
import { openTestMcp, programServer } from "../../../support/mcp.ts";
import type { TestMcp } from "../../../support/mcp.ts";

const TOOLS = [
  { name: "read_file", description: "Reads a file from the disk." },
  { name: "writeFile", description: "Writes a text to the disk." },
  { name: "list_issues", description: "Lists the issues of a repository." },
  { name: "weather", description: "Tells how warm it is outside." },
];

const CALL = callContextOf({ client: "kitchen", signal: AbortSignal.timeout(60_000) }, FULL_ACCESS);

/** One turn: what is offered, and what searches in it add. */
function turnOf({ mcp }: TestMcp, history: readonly Message[] = []) {
  const offer = mcp.offer(() => true, history);
  const offered = [...offer.tools];
  offer.onFound((found) => void offered.push(...found));
  const names = (): string[] => offered.map(({ name }) => name);
  const find = (name: string): Tool =>
    offered.find((tool) => tool.name === name) ?? assert.fail(name);
  const search = async (words: string, by = "bm25"): Promise<string> => {
    const key = by === "bm25" ? "query" : "pattern";
    return await find(`tool_search_tool_${by}`).run({ [key]: words }, CALL);
  };
  return { names, find, search };
}

/** A turn in a conversation. */
function turn(added: readonly Message[]): Message[] {
  return [
    { role: "user", text: "mcp_test_read_file: no words of a client" },
    ...added,
    { role: "assistant", text: "Done." },
  ];
}

describe("tools that are deferred", () => {
  it("are found by words, and can then be called", async () => {
    const discovery = { enabled: true, max_search_results: 2 };
    await using servers = await openTestMcp([programServer({ tools: TOOLS })], discovery);
    const begun = turnOf(servers);
    assert.deepEqual(begun.names(), ["tool_search_tool_bm25"]);
    const found = await begun.search("write something to a file");
    assert.match(found, /^These tools can be called now:\nmcp_test_/);
    assert.deepEqual(begun.names().slice(1).toSorted(), [
      "mcp_test_read_file",
      "mcp_test_writefile",
    ]);
    await begun.search("repositories and their issue");
    assert.ok(begun.names().includes("mcp_test_list_issues"));
    assert.match(await begun.search("zebra"), /^None of 4 tools fits/);
    assert.match(await begun.search(" "), /^error: say what/);
    assert.match(await begun.search("x".repeat(201)), /^error: use at most/);
  });

  it("are found by patterns that take no time", async () => {
    const discovery = { enabled: true, use_regex: true, use_bm25: false };
    await using servers = await openTestMcp([programServer({ tools: TOOLS })], discovery);
    const begun = turnOf(servers);
    assert.deepEqual(begun.names(), ["tool_search_tool_regex"]);
    await begun.search("^mcp.*FILE.*disk|weather", "regex");
    assert.equal(begun.names().length, 4);
    assert.match(await begun.search("(a+)+$", "regex"), /^None of/);
  });

  it("stay for some turns, from what the conversation says", async () => {
    const discovery = { enabled: true, ttl: 2, max_search_results: 1 };
    await using servers = await openTestMcp([programServer({ tools: TOOLS })], discovery);
    const text = await turnOf(servers).search("warm outside");
    const name = "tool_search_tool_bm25";
    const first = turn([{ role: "tool", callId: "1", name, text }]);
    assert.deepEqual(turnOf(servers, first).names(), [name, "mcp_test_weather"]);
    assert.deepEqual(turnOf(servers, [...first, ...turn([])]).names(), [name, "mcp_test_weather"]);
    const later = [...first, ...turn([]), ...turn([])];
    assert.deepEqual(turnOf(servers, later).names(), [name]);
    const calls = [{ id: "2", name: "mcp_test_list_issues", arguments: "{}" }];
    const called = turn([{ role: "assistant", text: "", toolCalls: calls }]);
    assert.deepEqual(turnOf(servers, called).names(), [name, "mcp_test_list_issues"]);
  });

  it("are those of some servers, or all if there are too many", async () => {
    const many = Array.from({ length: 70 }, (_, index) => ({ name: `t${index}` }));
    await using servers = await openTestMcp([
      programServer({ tools: TOOLS }, { name: "few", deferred: true }),
      programServer({ tools: many.slice(0, 40) }, { name: "one" }),
    ]);
    assert.equal(turnOf(servers).names().length, 41);
    await using more = await openTestMcp([programServer({ tools: many }, { name: "one" })]);
    assert.deepEqual(turnOf(more).names(), ["tool_search_tool_bm25"]);
  });

  it("are none that the caller may not use", async () => {
    await using servers = await openTestMcp([programServer({ tools: TOOLS })], { enabled: true });
    const offer = servers.mcp.offer(({ permission }) => permission === "test.weather", []);
    const [search] = offer.tools;
    assert.equal(search?.permission, "test.weather");
    assert.match((await search?.run({ query: "file" }, CALL)) ?? "", /None of 1 tools/);
    assert.deepEqual(servers.mcp.offer(() => false, []).tools, []);
  });
});
