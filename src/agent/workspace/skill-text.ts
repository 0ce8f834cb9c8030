import { visible } from "../../base/visible.ts";
import type { OpenSkill } from "./contract.ts";

/** A skill as a model reads it. */
export function skillText({ name, folder, body, files }: OpenSkill): string {
  const beside = files.length === 0 ? "none" : files.join(", ");
  return [`Skill: ${name}`, `Folder: ${visible(folder)}`, `Files beside: ${beside}`, "", body].join(
    "\n",
  );
}
