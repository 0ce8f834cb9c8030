/** A folder of the agent's own: who it is, what it knows, and what it can learn from. */
export interface Workspace {
  /** Absolute path. */
  readonly folder: string;
  /** All its texts as they are now. Never throws: what cannot be read is left out and logged once. */
  read(): Promise<WorkspaceTexts>;
  /** What one owner has had remembered for itself alone; "" where that is nothing or cannot be read. */
  own(owner: string): Promise<string>;
}

/** What the workspace's files say; "" and [] where there are none. */
export interface WorkspaceTexts {
  /** The body of AGENT.md, or the older AGENTS.md and IDENTITY.md in one. */
  readonly agent: string;
  /** The frontmatter of AGENT.md. */
  readonly settings: AgentSettings;
  readonly soul: string;
  readonly user: string;
  /** memory/MEMORY.md. */
  readonly memory: string;
  /** The newest notes, oldest first. */
  readonly days: readonly DayNotes[];
  /** In the order of their names. */
  readonly skills: readonly Skill[];
}

/** What the owner of the agent sets in the frontmatter of AGENT.md; absent where it says nothing. */
export interface AgentSettings {
  readonly name?: string;
  readonly description?: string;
  /** Names of the tools that the agent has; without it, all. */
  readonly tools?: readonly string[];
  readonly model?: string;
  /** Questions to the model in one turn. */
  readonly maxTurns?: number;
  readonly skills?: readonly string[];
}

export interface DayNotes {
  /** `2026-07-01`. */
  readonly date: string;
  readonly text: string;
}

/** Something the agent can read up on when it needs it. */
export interface Skill {
  /** Letters, digits, `-`, `_` and `.`; unique without regard to case. */
  readonly name: string;
  /** One line. */
  readonly description: string;
  /** Absolute paths: of the folder, of its SKILL.md, and of the folder that links must not leave. */
  readonly folder: string;
  readonly file: string;
  readonly root: string;
}

/** A skill that was opened. */
export interface OpenSkill {
  readonly name: string;
  readonly folder: string;
  /** SKILL.md without its frontmatter. */
  readonly body: string;
  /** Paths relative to the folder, without SKILL.md. */
  readonly files: readonly string[];
}

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
