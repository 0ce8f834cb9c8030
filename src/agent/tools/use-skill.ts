import * as v from "valibot";
import { nearestWord } from "../../base/spelling.ts";
import type { OpenSkill, Workspace, WorkspaceTexts } from "../workspace/contract.ts";
import { skillText, openSkill, skillNamed } from "../workspace/skills.ts";
import type { Tool } from "./contract.ts";
import { defineTool } from "./define.ts";

const input = v.object({
  name: v.pipe(v.string(), v.description("The name of the skill, as in the list of skills.")),
});

/** Bytes of a body, of its file list and of what stands around them. */
const MAX_RESULT = 48 * 1024;

/** Whether there is a skill at all; without one the tool is not worth its place in the prompt. */
export function hasSkills({ skills }: Pick<WorkspaceTexts, "skills">): boolean {
  return skills.length > 0;
}

/** Gives a model the instructions of a skill when it needs them. */
export function createSkillTool(workspace: Pick<Workspace, "read">): Tool {
  return defineTool({
    name: "use_skill",
    description:
      "Reads the instructions of a skill from the list of skills, with the folder and the files that belong to it.",
    input,
    characters: MAX_RESULT,
    async run({ name }) {
      const skill = await useSkill(workspace, name);
      return typeof skill === "string" ? `error: ${skill}` : skillText(skill);
    },
  });
}

/** Opens the skill of a name, whatever its case; where there is none, says so in words. */
export async function useSkill(
  workspace: Pick<Workspace, "read">,
  name: string,
): Promise<OpenSkill | string> {
  const { skills } = await workspace.read();
  const skill = skillNamed(skills, name);
  if (skill !== undefined) {
    // Gone or locked since it was listed; the system's words would tell paths.
    return await openSkill(skill).catch(() => `the skill ${skill.name} cannot be read`);
  }
  const names = skills.map((known) => known.name);
  const nearest = nearestWord(name, names);
  const hint = nearest === undefined ? "." : `, did you mean ${nearest}?`;
  const shown = JSON.stringify(name.slice(0, 64).toWellFormed());
  return `there is no skill ${shown}${hint} Skills are: ${names.join(", ") || "none"}.`;
}
