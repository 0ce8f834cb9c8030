import { join } from "node:path";
import type { LearnedStore } from "../../agent/model/memory.ts";
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

/** Further files of a gateway's agent there. Only the first gateway of a home writes the history of the device. */
export function agentFilesIn(config: Pick<Config, "agents">, instance: number) {
  const historyFile = join(stateFolderOf(config), "device-history");
  return { learned: learnedIn(config), ...(instance === 1 && { historyFile }) };
}
