import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createSharedRun, withTimeout } from "../../base/async.ts";
import { messageOf } from "../../base/failure.ts";
import { variable } from "../../base/host.ts";
import type { Log } from "../../base/log.ts";
import { prefixOf } from "../../base/truncate.ts";
import type { Config } from "../../config/contract.ts";
import { hasNoMemory, readClientMemory } from "./client-memory.ts";
import type {
  AgentCluster,
  AgentSettings,
  DayNotes,
  Workspace,
  WorkspaceTexts,
} from "./contract.ts";
import { areUnchanged, createFileCache, readWithin, STAT_CACHED_MS } from "./files.ts";
import type { Reading, Seen } from "./files.ts";
import { documentOf, lineField, listField } from "./markdown.ts";
import type { MarkdownDocument } from "./markdown.ts";
import { dayOf, fileNotes, isMonth } from "./notes.ts";
import { createCatalogue } from "./skills.ts";

export interface WorkspaceOptions {
  /** Absolute path; need not exist. */
  readonly folder: string;
  /** The program's home (`~/.picoclaw`), with skills for every workspace. */
  readonly home: string;
  readonly now: () => Date;
  readonly log: Log;
  /** Folder of built-in skills; default: `PICOCLAW_BUILTIN_SKILLS`. */
  readonly builtin?: string;
}

/** The workspace of a configuration. */
export function workspaceOf({
  config,
  home,
  log,
  cluster,
}: {
  readonly config: Pick<Config, "agents">;
  /** Default: the parent of the workspace. */
  readonly home?: string;
  readonly log: Log;
  readonly cluster?: AgentCluster | undefined;
}): Workspace {
  const { workspace: folder, turn_profile: profile } = config.agents.defaults;
  const place = { folder, home: home ?? dirname(folder) };
  const own = openWorkspace({ ...place, now: () => new Date(), log });
  const workspace = cluster?.share(own) ?? own;
  const names = profile?.system_prompt === "off" ? new Set<string>() : profile?.skills;
  return names === undefined ? workspace : withSkills(workspace, names);
}

/** The workspace with these skills only; names in lower case. */
function withSkills(workspace: Workspace, names: ReadonlySet<string>): Workspace {
  let last: { readonly all: WorkspaceTexts; readonly chosen: WorkspaceTexts } | undefined;
  return {
    ...workspace,
    async read() {
      const all = await workspace.read();
      if (last?.all !== all) {
        const skills = all.skills.filter(({ name }) => names.has(name.toLowerCase()));
        last = { all, chosen: { ...all, skills } };
      }
      return last.chosen;
    },
  };
}

/** Bytes of one file, and characters of all files in a prompt. */
const MAX_FILE = 64 * 1024;
const MAX_ALL = 256 * 1024;
export const MAX_DAYS = 3;
/** Milliseconds to read all files: a hanging disk must not block a turn. */
const READ_MS = 5_000;

const NOTHING: WorkspaceTexts = {
  agent: "",
  settings: {},
  soul: "",
  user: "",
  memory: "",
  days: [],
  skills: [],
};

/** Opens the agent's folder. Each turn reads changed files again. Writes nothing. */
export function openWorkspace(options: WorkspaceOptions): Workspace {
  const { folder, log } = options;
  const files = createTexts(options);
  const notes = fileNotes(folder);
  let last: { readonly texts: WorkspaceTexts; readonly seen: Seen; at: number } = {
    texts: NOTHING,
    seen: new Map(),
    at: Number.NEGATIVE_INFINITY,
  };
  let made: { readonly parts: readonly unknown[]; readonly texts: WorkspaceTexts } | undefined;

  /** The same object while nothing changed, so that derived values can be reused. */
  const readAll = async (seen: Seen): Promise<WorkspaceTexts> => {
    const [agent, soul, user, memory, days, skills] = await Promise.all([
      files.agent(seen),
      files.text("SOUL.md", seen),
      files.text("USER.md", seen),
      files.text("memory/MEMORY.md", seen),
      files.days(seen),
      files.skills(seen),
    ]);
    const noted = days.flatMap(({ date, text }) => [date, text]);
    const parts = [agent, soul, user, memory, ...noted, ...skills];
    const { parts: before = [] } = made ?? {};
    const isSame = parts.length === before.length && parts.every((one, at) => one === before[at]);
    if (made !== undefined && isSame) return made.texts;
    const settings = settingsOf(agent);
    const whole = { agent: agent.body, settings, soul, user, memory, days, skills };
    made = { parts, texts: limitTexts(whole) };
    return made.texts;
  };

  return {
    folder,
    // Turns that begin together look at the files together.
    read: createSharedRun(async () => {
      const at = performance.now();
      if (at - last.at < STAT_CACHED_MS && areUnchanged(last.seen)) {
        last.at = at;
        return last.texts;
      }
      const seen: Seen = new Map();
      try {
        const texts = await withTimeout(READ_MS, undefined, () => readAll(seen));
        last = { texts, seen, at };
      } catch (error) {
        const why = messageOf(error);
        log.warn("the workspace cannot be read; the turn uses the texts that were read before", {
          why,
        });
      }
      return last.texts;
    }),
    own: (owner) => readOwn(owner, { ...options, notes }),
    notes,
  };
}

async function readOwn(
  owner: string,
  { folder, now, log, notes }: WorkspaceOptions & Pick<Workspace, "notes">,
): Promise<string> {
  try {
    if (hasNoMemory(folder, owner)) return "";
    return await withTimeout(READ_MS, undefined, () =>
      readClientMemory({ folder, notes }, owner, now()),
    );
  } catch (error) {
    const why = messageOf(error);
    log.warn("the memory of a client cannot be read", { why });
    return "";
  }
}

function createTexts(options: WorkspaceOptions) {
  const { folder, home, now, log } = options;
  const { builtin = variable("PICOCLAW_BUILTIN_SKILLS") ?? "" } = options;
  const cache = { now, log };
  const texts = createFileCache<string>({
    load: (path) => textOf(folder, path),
    nothing: "",
    ...cache,
  });
  const documents = createFileCache<MarkdownDocument>({
    load: (path) => documentAt(folder, path),
    nothing: { fields: new Map(), body: "" },
    ...cache,
  });
  const folders = createFileCache<readonly string[]>({
    load: async (path) => ({ value: (await readdir(path)).toSorted() }),
    nothing: [],
    ...cache,
  });
  const textAt = async (name: string, seen: Seen): Promise<string> =>
    ((await texts.get(join(folder, name), seen)) ?? "").trim();
  return {
    /** AGENT.md, or the two older files in its place. */
    async agent(seen: Seen): Promise<MarkdownDocument> {
      const read = (name: string) => documents.get(join(folder, name), seen);
      const agent = await read("AGENT.md");
      if (agent !== undefined) return agent;
      const older = await Promise.all([read("AGENTS.md"), read("IDENTITY.md")]);
      const bodies = older.map((found) => found?.body ?? "").filter((body) => body !== "");
      return { fields: new Map(), body: bodies.join("\n\n") };
    },
    text: textAt,
    skills: createCatalogue({
      places: [
        { folder: join(folder, "skills"), root: folder },
        { folder: join(home, "skills"), root: home },
        ...(builtin === "" ? [] : [{ folder: builtin, root: builtin }]),
      ],
      ...cache,
    }),
    /** The notes of the newest days, oldest first. */
    async days(seen: Seen): Promise<DayNotes[]> {
      const found: DayNotes[] = [];
      const namesIn = async (path: string): Promise<readonly string[]> =>
        ((await folders.get(join(folder, path), seen)) ?? []).toReversed();
      for (const month of (await namesIn("memory")).filter(isMonth)) {
        for (const name of await namesIn(`memory/${month}`)) {
          const date = dayOf(month, name);
          if (date === undefined) continue;
          const text = await textAt(`memory/${month}/${name}`, seen);
          if (text !== "") found.unshift({ date, text });
          if (found.length === MAX_DAYS) return found;
        }
      }
      return found;
    },
  };
}

async function textOf(root: string, path: string): Promise<Reading<string>> {
  const { text, bytes } = await readWithin(root, path, MAX_FILE);
  if (bytes <= MAX_FILE) return { value: text };
  const fault = `it is longer than ${MAX_FILE} bytes, and only its beginning is read`;
  return { value: `${text}\n… (cut here: the file has ${bytes} bytes)`, fault };
}

async function documentAt(root: string, path: string): Promise<Reading<MarkdownDocument>> {
  const { value: text, fault } = await textOf(root, path);
  const value = await documentOf(text);
  const why = fault ?? value.fault;
  return why === undefined ? { value } : { value, fault: why };
}

function settingsOf(document: MarkdownDocument): AgentSettings {
  const name = lineField(document, "name", 100);
  const tools = listField(document, "tools");
  const mcpServers = listField(document, "mcpServers");
  const maxTurns = Number(lineField(document, "maxTurns", 20));
  return {
    ...(name !== undefined && { name }),
    ...(tools && { tools }),
    ...(mcpServers && { mcpServers }),
    ...(Number.isInteger(maxTurns) && maxTurns > 0 && { maxTurns }),
  };
}

/** Limits all texts: the character of the agent comes before its memory, and newer notes before older ones. */
export function limitTexts(texts: WorkspaceTexts): WorkspaceTexts {
  let left = MAX_ALL;
  const fit = (text: string): string => {
    const fitting =
      text.length <= left
        ? text
        : `${prefixOf(text, left)}\n… (cut here: the texts of the workspace are too long)`;
    left = Math.max(0, left - text.length);
    return fitting;
  };
  const [agent, soul, user] = [fit(texts.agent), fit(texts.soul), fit(texts.user)];
  const memory = fit(texts.memory);
  const days = texts.days.toReversed().map(({ date, text }) => ({ date, text: fit(text) }));
  return { ...texts, agent, soul, user, memory, days: days.toReversed() };
}
