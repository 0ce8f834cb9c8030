import type { AgentCluster } from "../../agent/workspace/contract.ts";
import { fileNotes } from "../../agent/workspace/notes.ts";
import type { NoteTable } from "../../agent/workspace/shared-notes.ts";
import { importNotes, SharedNotes, withSharedNotes } from "../../agent/workspace/shared-notes.ts";
import { asFailure } from "../../base/failure.ts";
import { hostName } from "../../base/host.ts";
import type { Log } from "../../base/log.ts";
import type { Config } from "../../config/contract.ts";

/** The name of this gateway among those that share its store. */
export function gatewayNameOf({ gateway }: Pick<Config, "gateway">): string {
  return gateway.name === undefined || gateway.name === "" ? hostName() : gateway.name;
}

export interface AgentClusterOptions {
  readonly config: Pick<Config, "gateway" | "agents">;
  /** Of the shared store. */
  readonly notes: NoteTable;
  /** Of this home, the same at each start: its files are imported once. */
  readonly instanceId: string;
  readonly log: Log;
}

/**
 * What the agents of a cluster share. Imports the notes in the files of this home, which it leaves as they are;
 * a failure of that is only logged, and it is tried again at the next start.
 */
export async function openAgentCluster(options: AgentClusterOptions): Promise<AgentCluster> {
  const { config, instanceId, log } = options;
  const { workspace: folder } = config.agents.defaults;
  const notes = new SharedNotes(options.notes);
  try {
    const { files } = await importNotes(fileNotes(folder), notes, instanceId);
    if (files > 0) log.info("took over the notes of this home into the store", { files });
  } catch (thrown) {
    const { message, why } = asFailure(thrown);
    log.warn("the notes of this home are not in the store yet", { error: message, why });
  }
  const facts = { notes, now: () => new Date(), log };
  return {
    gateway: gatewayNameOf(config),
    share: (workspace) => withSharedNotes(workspace, facts),
  };
}
