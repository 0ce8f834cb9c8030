import { readdir } from "node:fs/promises";
import { codeOf } from "../base/failure.ts";
import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Config } from "../config/contract.ts";

/**
 * Gives a workspace that nobody has begun the files with which one can begin;
 * only where there is a model to read them. What cannot be written is a warning: the agent works
 * without.
 */
export async function furnish({ agents, model_list }: Config, log: Log): Promise<void> {
  const { workspace, model_name } = agents.defaults;
  const isAsked = model_name !== "" || model_list.some(({ enabled }) => enabled);
  if (!isAsked || !(await isNew(workspace))) return;
  const { writeTemplates } = await import("../agent/workspace/templates.ts");
  try {
    const files = await writeTemplates(workspace);
    log.info("a workspace was begun: its files say who the agent is", {
      workspace,
      files: files.join(", "),
    });
  } catch (thrown) {
    log.warn("the workspace cannot be begun", { workspace, why: asFailure(thrown).why });
  }
}

async function isNew(folder: string): Promise<boolean> {
  try {
    // The program's own folder in it says nothing about whether somebody has begun.
    return (await readdir(folder)).every((name) => name === "state");
  } catch (error) {
    return codeOf(error) === "ENOENT";
  }
}
