import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openAgent } from "../../../src/agent/agent.ts";
import { writeTemplates } from "../../../src/agent/workspace/templates.ts";
import { SILENT } from "../../../src/base/log.ts";
import { agentConfig, collect, modelEntry } from "../../support/agent-config.ts";
import { answers, startModelServer } from "../../support/model-server.ts";
import { temporaryFolder } from "../../support/temporary.ts";

/** Names in the Go program, whose prompts and skills must fit, and our own. */
const NAMES = [
  "append_file device edit_file exec list_dir load_image memory read_file spawn spawn_status subagent use_skill",
  "web_fetch web_search write_file",
].flatMap((line) => line.split(" "));

describe("what every question carries", () => {
  it("is the same from turn to turn up to what changes, and small", async () => {
    await using folder = await temporaryFolder();
    await using server = await startModelServer();
    await writeTemplates(folder.path);
    server.otherwise(answers("yes"));
    const config = agentConfig([modelEntry({ api_base: server.base })], { workspace: folder.path });
    const duckduckgo = { enabled: true, max_results: 5 };
    const web = { ...config.tools.web, duckduckgo };
    const exec = { ...config.tools.exec, allow_remote: true };
    const tools = { ...config.tools, web, exec };
    const agent = await openAgent({ config: { ...config, tools }, log: SILENT });
    const signal = new AbortController().signal;
    const said = { text: "one", client: "kitchen", isRemote: true, signal };
    const { result } = await collect(agent.answer({ ...said, history: async () => [] }));
    await collect(agent.answer({ ...said, text: "two", history: async () => result.messages }));
    await agent.close();
    const [first, second] = server.requests.map(({ body }) => body);
    assert.ok(first !== undefined && second !== undefined);
    assert.deepEqual(first.tools?.map((tool) => tool.function.name).toSorted(), NAMES);
    assert.equal(JSON.stringify(first.tools), JSON.stringify(second.tools));
    const cost = JSON.stringify(first.tools).length;
    assert.ok(cost < 8_500, `the tools have ${cost} characters`);
    const [system = "", later = ""] = [first, second].map(({ messages }) => messages[0]?.content);
    assert.ok(system !== null && later !== null);
    assert.equal(later, system);
    assert.ok(system.length < 2_200, `the prompt has ${system.length} characters`);
  });
});
