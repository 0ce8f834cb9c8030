import type { Log } from "../../base/log.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import type { Config } from "../../config/contract.ts";
import { secretsIn } from "../../config/secrets.ts";
import { isSwitchedOff } from "../access/permissions.ts";
import type { Permissions } from "../access/permissions.ts";
import type { Message } from "../contract.ts";
import type { Fetch } from "../model/contract.ts";
import type { Workspace, WorkspaceTexts } from "../workspace/contract.ts";
import { usableSkills } from "../workspace/skills.ts";
import { createAskAgentTool } from "./ask-agent.ts";
import type { Agents } from "./ask-agent.ts";
import type { Tool } from "./contract.ts";
import { createExec } from "./exec.ts";
import { createFileTools } from "./files/file-tools.ts";
import type { McpTools } from "./mcp/mcp.ts";
import { isListed } from "./mcp/names.ts";
import { createMemoryTool } from "./memory.ts";
import { createMqttTool } from "./mqtt.ts";
import type { Topics } from "./mqtt.ts";
import { createSecretFilter, withFilter } from "./run.ts";
import type { SecretFilter } from "./run.ts";
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
  /** Absent if there is no broker. */
  readonly agents?: Agents | undefined;
  /** Tools for clients alone, as far as some client may use them. */
  readonly clientTools?: readonly Tool[];
  /** The tools for the devices of the home, if some client may use them. */
  readonly homeTools?: readonly Tool[];
  /** Masks secrets in the results of tools. */
  readonly redactor: Redactor;
  /** Tools of other programs; absent if none is configured. The toolbox closes it. */
  readonly mcp?: McpTools | undefined;
}

/** What the tools of a turn depend on. */
export interface ToolsWanted {
  /** Tools of this turn only. */
  readonly more?: readonly Tool[];
  /** The conversation, for tools that were found in it. */
  readonly history?: readonly Message[];
}

/** All tools that the configuration enables. */
export interface Toolbox {
  /** The tools for one turn of a caller with these permissions. A search in the turn adds to them. */
  readonly tools: (
    texts: WorkspaceTexts,
    permissions: Permissions,
    wanted?: ToolsWanted,
  ) => readonly Tool[];
  /** Whether there is a tool of that name, for whomever. */
  readonly has: (name: string) => boolean;
  /** Ends everything that the tools left running. */
  close(): Promise<void>;
}

export function createToolbox(options: ToolboxOptions): Toolbox {
  const { config, workspace, deviceTool, fetch, log, topics, agents, mcp } = options;
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
  const filtered = filteredWith(createSecretFilter(options.redactor, settings));
  const always = [
    deviceTool,
    createMemoryTool({ workspace, now: () => new Date() }),
    exec.tool,
    createWebFetch(web),
    ...(search === undefined ? [] : [search]),
    ...(agents === undefined ? [] : [createAskAgentTool(agents, holdsSecret)]),
    ...(options.clientTools ?? []),
    ...(options.homeTools ?? []),
  ];
  const mqtt = topics && createMqttTool(topics, holdsSecret);
  return {
    tools(texts, permissions, { more = [], history = [] } = {}) {
      const isChosen = choiceOf(texts);
      const isWanted = (tool: Tool): boolean =>
        isChosen(tool) &&
        !isSwitchedOff(tool.name, settings.off) &&
        permissions.allows(tool.permission ?? tool.name);
      const offer = mcp?.offer(isWanted, history);
      const all = [
        ...always,
        ...filesFor(permissions.files),
        skills,
        ...(mqtt !== undefined && topics?.trees().length !== 0 ? [mqtt] : []),
        ...more,
      ];
      const wanted = [...all.filter(isWanted), ...(offer?.tools ?? [])];
      const names = wanted.map(({ name }) => name);
      const hasSkills = usableSkills(texts.skills, names).length > 0;
      const offered = wanted.filter((tool) => tool !== skills || hasSkills).map(filtered);
      offer?.onFound((found) => offered.push(...found.map(filtered)));
      return offered;
    },
    has: (name) =>
      [...always, ...filesFor(undefined), skills, mqtt].some((tool) => tool?.name === name) ||
      mcp?.has(name) === true,
    async close() {
      await Promise.all([exec.close(), mcp?.close()]);
    },
  };
}

/** Tools with the filter; the same for the same tool. */
function filteredWith(filter: SecretFilter): (tool: Tool) => Tool {
  const known = new WeakMap<Tool, Tool>();
  return (tool) => {
    const made = known.get(tool) ?? withFilter(tool, filter);
    known.set(tool, made);
    return made;
  };
}

/** Whether AGENT.md chooses a tool: all, if it names no tools; of all MCP servers, if it names no servers. */
function choiceOf({ settings }: WorkspaceTexts): (tool: Tool) => boolean {
  const { tools, mcpServers } = settings;
  if (tools === undefined && mcpServers === undefined) return () => true;
  const chosen = tools && new Set(tools);
  const servers = mcpServers && new Set(mcpServers.map((server) => `${server}.*`));
  return ({ name, permission = name }) => {
    const isNamed = chosen?.has(name) !== false || isListed(chosen, permission);
    const isOfServer = permission.includes(".");
    return isNamed && (!isOfServer || servers === undefined || isListed(servers, permission));
  };
}

/** The files with secrets, those of a reloaded configuration too. */
function secretFilesOf({ config, secretFiles = [] }: ToolboxOptions): readonly string[] {
  const keys = config.channels.flatMap(({ settings: { tls } }) => tls.key_file ?? []);
  return [...new Set([...secretFiles, ...keys])];
}
