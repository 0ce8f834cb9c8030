import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { LearnedStore } from "../../agent/model/memory.ts";
import type { McpDocuments } from "../../agent/tools/mcp/contract.ts";
import type { Config } from "../../config/contract.ts";

/** The folder of the databases. */
export function stateFolderOf(config: Pick<Config, "agents">): string {
  return join(config.agents.defaults.workspace, "state");
}

const load = () => import("../../store/home/learned-file.ts");

/** What is learned about models, in the folder of the databases; code is loaded with the first use. */
export function learnedIn(config: Pick<Config, "agents">): LearnedStore {
  const file = join(stateFolderOf(config), "models.json");
  return {
    read: async () => (await load()).readLearned(file),
    write: async (document) => (await load()).writeLearned(file, document),
  };
}

/** What is known of MCP servers, and the tokens for them, in the same folder. */
export function mcpDocumentsIn(config: Pick<Config, "agents">): McpDocuments {
  const folder = stateFolderOf(config);
  const fileOf = (name: string): string => join(folder, `${name}.json`);
  return {
    read: async (name) => (await load()).readLearned(fileOf(name)),
    async write(name, document) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await (await load()).writeLearned(fileOf(name), document);
    },
    remove: (name) => rm(fileOf(name), { force: true }),
  };
}

/** Further files of a gateway's agent there. Only the first gateway of a home writes the history of the device. */
export function agentFilesIn(config: Pick<Config, "agents">, instance: number) {
  const historyFile = join(stateFolderOf(config), "device-history");
  const mcpDocuments = mcpDocumentsIn(config);
  return { learned: learnedIn(config), mcpDocuments, ...(instance === 1 && { historyFile }) };
}
