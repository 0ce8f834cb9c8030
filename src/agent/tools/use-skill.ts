import * as v from "valibot";
import { alternatives } from "../../base/spelling.ts";
import type { OpenSkill, Workspace } from "../workspace/contract.ts";
import { skillText, openSkill, skillNamed } from "../workspace/skills.ts";
import { ToolError } from "./contract.ts";
import type { Tool } from "./contract.ts";
import { defineTool } from "./define.ts";

const input = v.object({
  name: v.string(),
});

/** Bytes of a skill's body, its file list and the text around them. */
const MAX_RESULT = 48 * 1024;

/** The tool that reads the instructions of a skill. */
export function createSkillTool(workspace: Pick<Workspace, "read">): Tool {
  return defineTool({
    name: "use_skill",
    description: "Reads a skill: the owner's instructions, which you may follow.",
    input,
    characters: MAX_RESULT,
    async run({ name }) {
      const skill = await useSkill(workspace, name);
      if (typeof skill === "string") throw new ToolError(skill);
      return skillText(skill);
    },
  });
}

/** Opens the skill with a name, ignoring case. Returns a sentence if there is none. */
export async function useSkill(
  workspace: Pick<Workspace, "read">,
  name: string,
): Promise<OpenSkill | string> {
  const { skills } = await workspace.read();
  const skill = skillNamed(skills, name);
  if (skill !== undefined) {
    // The skill is gone or locked since it was listed. The system's error would reveal paths.
    return await openSkill(skill).catch(() => `the skill ${skill.name} cannot be read`);
  }
  const names = skills.map((each) => each.name);
  const shown = JSON.stringify(name.slice(0, 64).toWellFormed());
  return `there is no skill ${shown}${alternatives("Skills", name, names)}`;
}
