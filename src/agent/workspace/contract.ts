/** The agent's folder: its character, its memory and its skills. */
export interface Workspace {
  /** Absolute path. */
  readonly folder: string;
  /** All texts as they are now. Never throws: a file that cannot be read is left out and logged once. */
  read(): Promise<WorkspaceTexts>;
  /** The private memory of one owner; "" if there is none or it cannot be read. */
  own(owner: string): Promise<string>;
  /** What the agent itself writes: files of the folder, unless gateways share it in a store. */
  readonly notes: Notes;
}

/**
 * The texts that the agent keeps for later conversations, by their path in the workspace: MEMORY.md, the notes
 * of days, the memories of clients.
 */
export interface Notes {
  /** The whole text, or "" if there is none. Throws if it cannot be read. */
  read(path: string): Promise<string>;
  /**
   * Replaces a text by what `change` makes of it; the same text is not written. No change of another writer is
   * lost: `change` may be called again with a newer text. Throws what `change` throws, then nothing is written.
   */
  change(path: string, change: (before: string) => string): Promise<void>;
  /** The names in a folder, sorted. */
  names(folder: string): Promise<readonly string[]>;
  /** When a text was used last, in milliseconds since the epoch. */
  usedAt(path: string): Promise<number>;
  /** Sets that time, at most once a day to spare flash memory. */
  use(path: string, now: Date): Promise<void>;
  remove(path: string): Promise<void>;
}

/** What an agent knows of gateways that share one store with its own. */
export interface AgentCluster {
  /** The name of this gateway among them; absent for a user at this machine, who asks none of them. */
  readonly gateway?: string;
  /** The workspace with the notes that all of them share. */
  readonly share: (workspace: Workspace) => Workspace;
}

/** The texts of the workspace's files; "" and [] for missing ones. */
export interface WorkspaceTexts {
  /** The body of AGENT.md, or of the older AGENTS.md and IDENTITY.md. */
  readonly agent: string;
  /** The frontmatter of AGENT.md. */
  readonly settings: AgentSettings;
  readonly soul: string;
  readonly user: string;
  /** memory/MEMORY.md. */
  readonly memory: string;
  /** The notes of the last days, oldest first. */
  readonly days: readonly DayNotes[];
  /** Sorted by name. */
  readonly skills: readonly Skill[];
}

/** The frontmatter of AGENT.md; absent fields are not set. */
export interface AgentSettings {
  readonly name?: string;
  /** The tools of the agent; default: all. */
  readonly tools?: readonly string[];
  /** The MCP servers whose tools the agent has; default: all. */
  readonly mcpServers?: readonly string[];
  /** Model calls in one turn. */
  readonly maxTurns?: number;
}

export interface DayNotes {
  /** `2026-07-01`. */
  readonly date: string;
  readonly text: string;
}

/** Instructions that the agent reads when it needs them. */
export interface Skill {
  /** Letters, digits, `-`, `_` and `.`; unique, ignoring case. */
  readonly name: string;
  /** One line. */
  readonly description: string;
  /** The tools that it needs. A client without one of them does not see the skill. */
  readonly tools?: readonly string[];
  /** Absolute paths of the folder, of its SKILL.md, and of the folder that links must not leave. */
  readonly folder: string;
  readonly file: string;
  readonly root: string;
}

/** A skill with its text. */
export interface OpenSkill {
  readonly name: string;
  readonly folder: string;
  /** SKILL.md without its frontmatter. */
  readonly body: string;
  /** Paths relative to the folder, without SKILL.md. */
  readonly files: readonly string[];
}

/** Folders of a workspace with the conversations and jobs of all clients: this program's, and the Go program's. */
export const STATE_FOLDERS: readonly string[] = ["state", "sessions", "cron"];
/** The folder of a workspace with the memories of single clients. Each client reads only its own. */
export const CLIENT_MEMORIES = "memory/clients";
/** Names of files with keys. */
export const KEY_FILES = { config: "config.json", security: ".security.yml" };

/**
 * Names in a workspace of the owner's instructions to the model: AGENT.md with its older forms, the
 * tasks of the heartbeat, and the skills. They rule the turns of all clients, so write access to the folder around them is not enough.
 */
export const OWNER_FILES: readonly string[] = [
  "AGENT.md",
  "AGENTS.md",
  "HEARTBEAT.md",
  "IDENTITY.md",
  "SOUL.md",
  "USER.md",
  "skills",
];
