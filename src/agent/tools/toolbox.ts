import type { Log } from "../../base/log.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import type { Config } from "../../config/contract.ts";
import { secretsIn } from "../../config/secrets.ts";
import { isSwitchedOff } from "../access/permissions.ts";
import type { Permissions } from "../access/permissions.ts";
import type { Fetch } from "../model/contract.ts";
import type { Workspace, WorkspaceTexts } from "../workspace/contract.ts";
import { usableSkills } from "../workspace/skills.ts";
import type { Tool } from "./contract.ts";
import { createCronTool } from "./cron.ts";
import type { Jobs } from "./cron.ts";
import { createExec } from "./exec.ts";
import { createFileTools } from "./files/file-tools.ts";
import { createMemoryTool } from "./memory.ts";
import { createMessageTool } from "./message.ts";
import type { Outbox } from "./message.ts";
import { createMqttTool } from "./mqtt.ts";
import type { Topics } from "./mqtt.ts";
import { createSecretFilter, withFilter } from "./run.ts";
import { createSkillTool } from "./use-skill.ts";
import { createLeakWatch } from "./web/secret-leak.ts";
import { createWebFetch } from "./web/web-fetch.ts";
import { createWebSearch } from "./web/web-search.ts";

export interface ToolboxOptions {
  readonly config: Pick<Config, "agents" | "model_list" | "tools" | "channels">;
  readonly workspace: Workspace;
  readonly deviceTool: Tool;
  /** The configuration file; no tool may read it. */
  readonly configFile?: string | undefined;
  /** Further files with secrets; no tool may read them. */
  readonly secretFiles?: readonly string[];
  readonly fetch: Fetch;
  readonly log: Log;
  /** Absent if there is no broker. */
  readonly topics?: Topics;
  /** Absent if there are no clients. */
  readonly outbox?: Outbox | undefined;
  /** Absent if nobody does jobs. */
  readonly jobs?: Jobs | undefined;
  /** Masks secrets in the results of tools. */
  readonly redactor: Redactor;
}

/** All tools that the configuration enables. */
export interface Toolbox {
  /** The tools for one turn of a caller with these permissions; `more` are tools of this turn only. */
  readonly tools: (
    texts: WorkspaceTexts,
    permissions: Permissions,
    more?: readonly Tool[],
  ) => readonly Tool[];
  /** Whether there is a tool of that name, for whomever. */
  readonly has: (name: string) => boolean;
  /** Ends everything that the tools left running. */
  close(): Promise<void>;
}

export function createToolbox(options: ToolboxOptions): Toolbox {
  const { config, workspace, deviceTool, fetch, log, topics, outbox } = options;
  const { tools: settings } = config;
  const { defaults } = config.agents;
  const bounds = {
    workspace: workspace.folder,
    restrict: defaults.restrict_to_workspace,
    configFile: options.configFile,
    secretFiles: secretFilesOf(options),
  };
  const exec = createExec({ ...bounds, settings: settings.exec, now: () => Date.now(), log });
  const readOutside = defaults.allow_read_outside_workspace;
  const filesFor = createFileTools({ ...bounds, settings, readOutside });
  const holdsSecret = createLeakWatch(secretsIn(config));
  const web = { settings: settings.web, fetch, log, holdsSecret };
  const search = createWebSearch(web);
  const skills = createSkillTool(workspace);
  const filter = createSecretFilter(options.redactor, settings);
  const always = [
    deviceTool,
    createMemoryTool({ workspace, now: () => new Date() }),
    exec.tool,
    createWebFetch(web),
    ...(search === undefined ? [] : [search]),
    ...(outbox === undefined ? [] : [createMessageTool(outbox, holdsSecret)]),
  ];
  const filteredTools = new WeakMap<Tool, Tool>();
  const filtered = (tool: Tool): Tool => {
    const made = filteredTools.get(tool) ?? withFilter(tool, filter);
    filteredTools.set(tool, made);
    return made;
  };
  const cron = options.jobs && createCronTool(options.jobs, settings.cron);
  const mqtt = topics && createMqttTool(topics, holdsSecret);
  return {
    tools(texts, permissions, more = []) {
      const { tools: chosen } = texts.settings;
      const all = [
        ...always,
        ...filesFor(permissions.files),
        skills,
        ...(mqtt !== undefined && topics?.trees().length !== 0 ? [mqtt] : []),
        ...(cron === undefined ? [] : [cron]),
        ...more,
      ];
      const wanted = all.filter((tool) => {
        const isChosen = chosen === undefined || chosen.includes(tool.name);
        return isChosen && !isSwitchedOff(tool.name, settings.off) && permissions.allows(tool.name);
      });
      const names = wanted.map(({ name }) => name);
      const hasSkills = usableSkills(texts.skills, names).length > 0;
      return wanted.filter((tool) => tool !== skills || hasSkills).map(filtered);
    },
    has: (name) =>
      [...always, ...filesFor(undefined), skills, mqtt, cron].some((tool) => tool?.name === name),
    close: () => exec.close(),
  };
}

/** The files with secrets, those of a reloaded configuration too. */
function secretFilesOf({ config, secretFiles = [] }: ToolboxOptions): readonly string[] {
  const keys = config.channels.flatMap(({ settings: { tls } }) => tls.key_file ?? []);
  return [...new Set([...secretFiles, ...keys])];
}
