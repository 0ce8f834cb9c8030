import { ownerOf } from "../access/permissions.ts";
import type { Turned } from "../contract.ts";
import { useSkill } from "../tools/use-skill.ts";
import type { OpenSkill } from "../workspace/contract.ts";
import { NO_MODEL, NO_SKILLS } from "./contract.ts";
import type { AnswerWith, Asked, Command, CommandContext, Outcome } from "./contract.ts";
import { firstWord, usageText } from "./words.ts";

/** Clients that have a skill in store (up to 32 KB each); the one that waits longest loses it. */
const MAX_ARMED = 100;

/** The skill that a client wants for its next message. */
export interface ArmedSkills {
  /** Takes it: it is for one message. */
  readonly take: (owner: string) => OpenSkill | undefined;
  readonly arm: (owner: string, skill: OpenSkill) => void;
}

/** Kept in memory alone: after a restart the client asks again. */
export function createArmedSkills(): ArmedSkills {
  const armed = new Map<string, OpenSkill>();
  const take = (owner: string): OpenSkill | undefined => {
    const skill = armed.get(owner);
    armed.delete(owner);
    return skill;
  };
  return {
    take,
    arm(owner, skill) {
      armed.delete(owner);
      armed.set(owner, skill);
      const [oldest] = armed.keys();
      if (armed.size > MAX_ARMED && oldest !== undefined) armed.delete(oldest);
    },
  };
}

/** Commands that ask the model. */
export function turnCommands(armed: ArmedSkills): readonly Command[] {
  const use: Command = {
    name: "use",
    options: "<skill> [message] | clear",
    about: "work by a skill, for this message or the next",
    run: async ({ words, turn }, context) => {
      const { word, rest } = firstWord(words);
      if (word === "") return usageText(use, "");
      if (word === "clear" && rest === "") {
        const skill = armed.take(ownerOf(turn));
        return skill === undefined ? "No skill was chosen." : `Skill ${skill.name} is put away.`;
      }
      return await used({ word, rest, turn }, context, armed);
    },
  };
  const btw: Command = {
    name: "btw",
    options: "<question>",
    about: "ask something aside that is not remembered",
    run({ words, turn }, { answer }) {
      if (words === "") return usageText(btw, "");
      if (answer === undefined) return NO_MODEL;
      return { run: () => unremembered(answer, { words, turn }) };
    },
  };
  return [use, btw];
}

interface Use extends Pick<Asked, "turn"> {
  readonly word: string;
  readonly rest: string;
}

async function used(
  { word, rest, turn }: Use,
  { answer, workspace, allows }: CommandContext,
  armed: ArmedSkills,
): Promise<Outcome> {
  if (answer === undefined) return NO_MODEL;
  if (!allows(turn, "use_skill")) return NO_SKILLS;
  const skill = await useSkill(workspace, word);
  if (typeof skill === "string") return `${skill.charAt(0).toUpperCase()}${skill.slice(1)}`;
  if (rest !== "") return { run: () => answer({ ...turn, text: rest }, [skill]) };
  armed.arm(ownerOf(turn), skill);
  return `Skill ${skill.name} will be used for your next message. To change your mind: /use clear`;
}

async function* unremembered(
  answer: AnswerWith,
  { words, turn }: Asked,
): AsyncGenerator<string, Turned> {
  const turned = yield* answer({ ...turn, text: words });
  return { ...turned, messages: [] };
}
