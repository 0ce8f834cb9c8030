import { join } from "node:path";
import type { Check } from "../../base/contract.ts";
import { fromJson, at, listAt } from "../../base/unknown.ts";
import { readWithin } from "./files.ts";
import { documentOf } from "./markdown.ts";

/** Bytes of one file. */
const MAX_FILE = 1024 * 1024;
/** Fields of AGENT.md that the Go program uses and this one does not. */
const FIELDS = ["model", "mcpServers"] as const;

/** One warning for each part of a Go workspace that has no effect here. */
export async function goWorkspaceChecks(workspace: string): Promise<readonly Check[]> {
  const read = (name: string): Promise<string> => textOf(workspace, name);
  const [agent, jobs, heartbeat] = await Promise.all([
    read("AGENT.md"),
    read("cron/jobs.json"),
    read("HEARTBEAT.md"),
  ]);
  const { fields } = await documentOf(agent);
  const count = enabledJobs(jobs);
  return [
    ...FIELDS.filter((field) => fields.has(field)).map((field) =>
      useless("AGENT.md", `${field} of AGENT.md`),
    ),
    ...(count > 0 ? [useless("cron", `cron/jobs.json (${count} enabled)`)] : []),
    ...(heartbeat.trim() === "" ? [] : [useless("heartbeat", "HEARTBEAT.md")]),
  ];
}

function useless(name: string, what: string): Check {
  return {
    name,
    result: "warn",
    message: `${what} has no effect here`,
    remedy: "remove it, or run the Go program for it",
  };
}

/** The text of a file; "" if it cannot be read. */
async function textOf(workspace: string, name: string): Promise<string> {
  try {
    return (await readWithin(workspace, join(workspace, name), MAX_FILE)).text;
  } catch {
    return "";
  }
}

function enabledJobs(text: string): number {
  try {
    const jobs = listAt(fromJson(text), "jobs");
    return jobs.filter((job) => at(job, "enabled") !== false).length;
  } catch {
    return 0;
  }
}
