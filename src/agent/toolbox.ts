import type { Log } from "../base/log.ts";
import type { Veil } from "../base/veil.ts";
import type { Config } from "../config/contract.ts";
import { secretsIn } from "../config/secrets-in.ts";
import type { Fetch } from "./model/contract.ts";
import type { Tool } from "./tools/contract.ts";
import { createExec } from "./tools/exec.ts";
import { createFileTools } from "./tools/files/tools.ts";
import { createSecretFilter, withFilter } from "./tools/filter.ts";
import { createMemoryTool } from "./tools/memory.ts";
import { createSkillTool, hasSkills } from "./tools/skills.ts";
import { createWebFetch } from "./tools/web-fetch.ts";
import { createWebSearch } from "./tools/web-search.ts";
import { createLeakWatch } from "./tools/web/leak.ts";
import type { Workspace, WorkspaceTexts } from "./workspace/contract.ts";

export interface ToolboxOptions {
  readonly config: Pick<Config, "agents" | "model_list" | "tools" | "channels">;
  readonly workspace: Workspace;
  readonly deviceTool: Tool;
  /** The configuration's file, which no tool may read. */
  readonly configFile?: string;
  readonly fetch: Fetch;
  readonly log: Log;
  /** Over what tools tell the model. */
  readonly veil: Veil;
}

/** All tools that the configuration leaves on. */
export interface Toolbox {
  /** For one turn; `more` are tools that belong to it alone. */
  readonly tools: (texts: WorkspaceTexts, more?: readonly Tool[]) => readonly Tool[];
  /** Ends whatever the tools left running. */
  close(): Promise<void>;
}

export function createToolbox(options: ToolboxOptions): Toolbox {
  const { config, workspace, deviceTool, fetch, log } = options;
  const { tools: settings } = config;
  const { restrict_to_workspace: restrict, allow_read_outside_workspace: readOutside } =
    config.agents.defaults;
  const { folder } = workspace;
  const exec = createExec({
    workspace: folder,
    settings: settings.exec,
    restrict,
    now: () => Date.now(),
    log,
    secretFiles: config.channels.map(({ settings: { tls } }) => tls.key_file ?? ""),
    ...(options.configFile !== undefined && { configFile: options.configFile }),
  });
  const holdsSecret = createLeakWatch(secretsIn(config));
  const search = createWebSearch({ settings: settings.web, fetch, log, holdsSecret });
  const skills = createSkillTool(workspace);
  const filter = createSecretFilter(options.veil, settings);
  const isOn = ({ name }: Tool): boolean => !settings.off.has(nameInSettings(name));
  const always = [
    deviceTool,
    createMemoryTool({ workspace, now: () => new Date() }),
    ...createFileTools({
      workspace: folder,
      settings,
      restrict,
      readOutside,
      ...(options.configFile !== undefined && { configFile: options.configFile }),
    }),
    exec.tool,
    createWebFetch({ settings: settings.web, fetch, log, holdsSecret }),
    ...(search === undefined ? [] : [search]),
  ].filter(isOn);
  return {
    tools(texts, more = []) {
      const all = [...always, ...(hasSkills(texts) ? [skills] : []), ...more].filter(isOn);
      const { tools: chosen } = texts.settings;
      const wanted = chosen === undefined ? all : all.filter(({ name }) => chosen.includes(name));
      return wanted.map((tool) => withFilter(tool, filter));
    },
    close: () => exec.close(),
  };
}

/** `tools.skills` switches the tool that reads them. */
function nameInSettings(name: string): string {
  return name === "use_skill" ? "skills" : name;
}
