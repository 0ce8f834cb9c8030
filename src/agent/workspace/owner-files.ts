/**
 * Names in a workspace of what speaks to the model as the agent's owner: AGENT.md with its older forms,
 * and the skills. Whoever changes them gives orders to the agents of all other clients, so having the
 * folder around them is not enough.
 */
export const OWNER_FILES: readonly string[] = [
  "AGENT.md",
  "AGENTS.md",
  "IDENTITY.md",
  "SOUL.md",
  "USER.md",
  "skills",
];
