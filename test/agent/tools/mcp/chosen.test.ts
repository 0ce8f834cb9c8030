import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openAgent } from "../../../../src/agent/agent.ts";
import { SILENT } from "../../../../src/base/log.ts";
import type { ToolSettings, TurnProfile } from "../../../../src/config/contract.ts";
import { agentConfig, collect, modelEntry, toolProfile } from "../../../support/agent-config.ts";
import { programServer } from "../../../support/mcp.ts";
import { answers, startModelServer } from "../../../support/model-server.ts";
import { temporaryFolder } from "../../../support/temporary.ts";

const SERVERS = [
  programServer({ tools: [{ name: "read" }, { name: "Write" }] }, { name: "files" }),
  programServer({ tools: [{ name: "send" }] }, { name: "Mail" }),
];

interface Given {
  /** The frontmatter of AGENT.md. */
  readonly agent?: string;
  readonly profiles?: ToolSettings["profiles"];
  readonly turnProfile?: TurnProfile;
  readonly isRemote?: boolean;
}

/** The tools that a model gets, of servers and `device`. */
async function offered({ agent, profiles = [], turnProfile, isRemote = true }: Given) {
  await using folder = await temporaryFolder();
  await using server = await startModelServer();
  server.otherwise(answers("yes"));
  if (agent !== undefined)
    await writeFile(join(folder.path, "AGENT.md"), `---\n${agent}\n---\nHi.`);
  const { tools, ...config } = agentConfig([modelEntry({ api_base: server.base })], {
    workspace: folder.path,
    ...(turnProfile && { turn_profile: turnProfile }),
  });
  const discovery = {
    enabled: false,
    ttl: 5,
    max_search_results: 5,
    use_bm25: true,
    use_regex: false,
  };
  const mcp = { max_inline_text_chars: 1000, discovery, servers: SERVERS };
  const all = { ...config, tools: { ...tools, profiles, mcp } };
  const running = await openAgent({ config: all, log: SILENT });
  try {
    const { signal } = new AbortController();
    const turn = { text: "Hi.", client: "kitchen", isRemote, signal, history: async () => [] };
    await collect(running.answer(turn));
  } finally {
    await running.close();
  }
  const names = server.requests[0]?.body.tools?.map((tool) => tool.function.name) ?? [];
  return names.filter((name) => name.startsWith("mcp_") || name === "device").toSorted();
}

function turnProfileOf(tools: readonly string[]): TurnProfile {
  return { history: "default", system_prompt: "default", tools: new Set(tools) };
}

const ALL = ["device", "mcp_files_read", "mcp_files_write", "mcp_mail_send"];

describe("tools of MCP servers", () => {
  it("are all there at the machine, and none for a client without a profile", async () => {
    assert.deepEqual(await offered({ isRemote: false }), ALL);
    assert.deepEqual(await offered({}), ["device"]);
  });

  it("are those of a client's profile: each by its name, all of a server, or all", async () => {
    for (const [names, expected] of [
      [
        ["device", "files.read"],
        ["device", "mcp_files_read"],
      ],
      [["files.*"], ["mcp_files_read", "mcp_files_write"]],
      [
        ["mcp_files_write", "Mail.send"],
        ["mcp_files_write", "mcp_mail_send"],
      ],
      [["mail.send", "files.write", "files"], []],
      [["*"], ALL],
    ] as const) {
      const profiles = [toolProfile({ tools: names })];
      assert.deepEqual(await offered({ profiles }), expected, names.join(" "));
    }
  });

  it("are those that AGENT.md chooses", async () => {
    for (const [agent, expected] of [
      ["tools: [device, files.read]", ["device", "mcp_files_read"]],
      ["tools: [mcp_mail_send]", ["mcp_mail_send"]],
      ["mcpServers: [files]", ["device", "mcp_files_read", "mcp_files_write"]],
      ["mcpServers: []", ["device"]],
      ["tools: [device, files.*]\nmcpServers: [Mail]", ["device"]],
    ] as const) {
      assert.deepEqual(await offered({ agent, isRemote: false }), expected, agent);
    }
  });

  it("are those that a turn profile leaves, in lower case as it has them", async () => {
    for (const [names, expected] of [
      [["mcp_files_write"], ["mcp_files_write"]],
      [
        ["files.write", "mail.*"],
        ["mcp_files_write", "mcp_mail_send"],
      ],
      [["device"], ["device"]],
    ] as const) {
      const found = await offered({ turnProfile: turnProfileOf(names), isRemote: false });
      assert.deepEqual(found, expected, names.join(" "));
    }
  });
});
