import { join } from "node:path";
import { coversPattern, isEveryone, isPattern } from "../base/client-pattern.ts";
import type { Check } from "../base/contract.ts";
import { Failure } from "../base/failure.ts";
import { SILENT } from "../base/log.ts";
import { isInside } from "../base/path-contains.ts";
import { isLoopback } from "../base/url.ts";
import type { Config, ModelEntry, ToolProfile, ToolSettings } from "../config/contract.ts";
import { isSwitchedOff, ineffectiveTools } from "./access/permissions.ts";
import type { Endpoint } from "./model/endpoint.ts";
import type { LearnedStore } from "./model/memory.ts";
import type { Models } from "./model/models.ts";
import { promptText } from "./small-window.ts";
import { OWNER_FILES } from "./workspace/contract.ts";
import { readWithin } from "./workspace/files.ts";
import { documentOf } from "./workspace/markdown.ts";

type Settings = Pick<Config, "agents" | "model_list">;

const MODEL = "model";

/** Checks which model would be called, or why none would, and which are called without TLS. Sends nothing. */
export async function modelChecks(
  config: Settings,
  learned?: LearnedStore,
): Promise<readonly Check[]> {
  if (config.model_list.length === 0) return [offline("no model is configured")];
  const [{ openModels }, { endpointOf }] = await Promise.all([
    import("./model/models.ts"),
    import("./model/endpoint.ts"),
  ]);
  try {
    const models = openModels({ config, fetch: globalThis.fetch, log: SILENT, learned });
    if (models === undefined) return [noneUsable(config.model_list, endpointOf)];
    await models.load();
    const usable = config.model_list.flatMap((entry): NamedBase[] => {
      const found = endpointIn(entry, endpointOf);
      return found instanceof Failure ? [] : [{ name: entry.model_name, base: found.base }];
    });
    const prompt = promptText(models.window());
    return [
      currentCheck(models, config, usable),
      { name: "prompt", result: "ok", message: prompt },
      ...plainHttpChecks(models, usable),
    ];
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown;
    return [{ name: MODEL, result: "fail", message: thrown.message }];
  }
}

/** No warning: the configuration gives one at the start. */
function offline(why: string): Check {
  const message = `no model is used because ${why}: the offline agent answers questions about its device`;
  return { name: MODEL, result: "ok", message };
}

/** The reason and the remedy are those of the first entry that is enabled. */
function noneUsable(entries: readonly ModelEntry[], endpointOf: EndpointOf): Check {
  const first = entries.find(({ enabled }) => enabled);
  const failure = first && endpointIn(first, endpointOf);
  if (!(failure instanceof Failure))
    return offline("no entry of model_list is enabled or has a key");
  const { message, remedy } = failure;
  return { ...offline(message), result: "warn", ...(remedy !== undefined && { remedy }) };
}

type EndpointOf = (entry: ModelEntry) => Endpoint;

/** An entry that can be called. */
interface NamedBase {
  readonly name: string;
  readonly base: string;
}

/** The failure of an entry that cannot work: others of its name are used. */
function endpointIn(entry: ModelEntry, endpointOf: EndpointOf): Endpoint | Failure {
  try {
    return endpointOf(entry);
  } catch (thrown) {
    if (thrown instanceof Failure) return thrown;
    throw thrown;
  }
}

/** Warns if no model is named and several could be used: the first one is a guess. */
function currentCheck(models: Models, { agents }: Settings, places: readonly NamedBase[]): Check {
  const current = models.current();
  const base = places.find(({ name }) => name === current.name)?.base ?? "";
  const { name, provider, model } = current;
  const message = `${JSON.stringify(name)} answers (${provider}, ${model}) at ${base}`;
  const count = models.list().length;
  if (agents.defaults.model_name !== "" || count === 1) {
    return { name: MODEL, result: "ok", message };
  }
  return {
    name: MODEL,
    result: "warn",
    message: `${message}: it is the first of ${count} usable models, and none is named`,
    remedy: "name one in agents.defaults.model_name",
  };
}

/** Warns of models on other machines over plain HTTP: everyone on the way can read the messages and the key. */
function plainHttpChecks(models: Models, places: readonly NamedBase[]): Check[] {
  const names = new Set(models.list().map(({ name }) => name));
  return places.flatMap(({ name, base }) => {
    const url = URL.parse(base);
    const isPlain = url?.protocol === "http:" && !isLoopback(url.hostname);
    if (!names.has(name) || !isPlain) return [];
    return [
      {
        name: `model ${name}`,
        result: "warn",
        message: `${url.host} is called over plain HTTP: others on the network can read the messages and the key`,
        remedy: "begin its api_base with https://, or reach it through a tunnel",
      },
    ];
  });
}

interface PermissionCheckOptions {
  readonly tools: Pick<ToolSettings, "profiles" | "exec" | "off">;
  /** All clients share one conversation. */
  readonly isShared?: boolean;
  /** Absolute path. */
  readonly workspace: string;
}

const CLIENT_TOOLS = "tools of clients";

/** Warns where clients may do more, or less, than the owner can have meant. One line if all is well. */
export function permissionChecks(options: PermissionCheckOptions): readonly Check[] {
  const { tools, workspace, isShared = false } = options;
  const { profiles, exec } = tools;
  const found = [
    ...(isShared && (profiles.length > 0 || exec.allow_remote === true) ? [SHARED] : []),
    ...(exec.allow_remote === true ? [allowRemoteCheck(profiles)] : []),
    ...profiles.flatMap((profile, index) => {
      const about = { profile, before: profiles.slice(0, index), workspace, tools };
      return PROFILE_CHECKS.flatMap((look) => checkOf(profile, look(about)));
    }),
  ];
  if (found.length > 0) return found;
  const message = "no client may do more than its profile allows";
  return [{ name: CLIENT_TOOLS, result: "ok", message }];
}

interface ProfileContext {
  readonly profile: ToolProfile;
  /** The profiles that take precedence. */
  readonly before: readonly ToolProfile[];
  readonly workspace: string;
  readonly tools: PermissionCheckOptions["tools"];
}

interface Finding {
  readonly message: string;
  readonly remedy: string;
}

const PROFILE_CHECKS: readonly ((about: ProfileContext) => Finding | undefined)[] = [
  neverReached,
  everyoneMayAct,
  publishesAnywhere,
  reachesAll,
  namesWhatIsOff,
  nobodyConfirms,
];

function checkOf({ pattern }: ToolProfile, fault: Finding | undefined): Check[] {
  if (fault === undefined) return [];
  return [{ name: `tools.profiles ${JSON.stringify(pattern)}`, result: "warn", ...fault }];
}

function allowRemoteCheck(profiles: readonly ToolProfile[]): Check {
  const who = profiles.length === 0 ? "every client" : "every client without a profile";
  return {
    name: CLIENT_TOOLS,
    result: "warn",
    message: `${who} may run commands, change files and publish, because tools.exec.allow_remote is true`,
    remedy: "remove allow_remote, and give the clients that need it a profile in tools.profiles",
  };
}

/** The model reads the words of one client as history in the turns of another with more permissions. */
const SHARED: Check = {
  name: CLIENT_TOOLS,
  result: "warn",
  message:
    "all clients share one conversation: text of one client is part of the turns of others, who may do more",
  remedy: 'set session.dimensions to ["chat"]',
};

function neverReached({ profile: { pattern }, before }: ProfileContext): Finding | undefined {
  const earlier = before.find((other) => coversPattern(other.pattern, pattern));
  if (earlier === undefined) return undefined;
  return {
    message: `is never used: ${JSON.stringify(earlier.pattern)} before it matches the same clients`,
    remedy: "move the profile with fewer clients to the front",
  };
}

function everyoneMayAct({ profile, workspace }: ProfileContext): Finding | undefined {
  const { pattern, tools, write } = profile;
  if (!isEveryone(pattern)) return undefined;
  const reasons = [
    ...(tools.includes("*") ? ["use every tool"] : []),
    ...(tools.includes("exec") ? ["run commands"] : []),
    ...(write.some((folder) => !isInside(folder, workspace))
      ? ["write outside the workspace"]
      : []),
    ...(write.some((path) => OWNER_FILES.some((name) => isInside(path, join(workspace, name))))
      ? ["change the instructions of the agent"]
      : []),
  ];
  if (reasons.length === 0) return undefined;
  return {
    message: `every client of the broker may ${reasons.join(" and ")}`,
    remedy: "name the clients that need it instead of *",
  };
}

function publishesAnywhere({ profile: { topics } }: ProfileContext): Finding | undefined {
  const wide = topics.publish.find((filter) => /^(?:\+\/)*#$/.test(filter));
  if (wide === undefined) return undefined;
  return {
    message: `publishes to any topic: topics.publish contains ${wide}`,
    remedy: "name the topics, such as home/+/light/set",
  };
}

function reachesAll({ profile, workspace }: ProfileContext): Finding | undefined {
  const all = [...profile.read, ...profile.write].find((folder) => {
    return folder !== workspace && isInside(workspace, folder);
  });
  if (all === undefined) return undefined;
  return {
    message: `reaches all of ${all}, which is more than the workspace`,
    remedy: "name the folders that are needed",
  };
}

function nobodyConfirms({ profile: { confirm } }: ProfileContext): Finding | undefined {
  const pattern = confirm.by.find(isPattern);
  if (pattern !== undefined) {
    return {
      message: `confirm.by contains ${pattern}, which is the id of no client: there it is no pattern`,
      remedy: "name each client that may confirm",
    };
  }
  if (confirm.by.length > 0 || confirm.tools.length === 0) return undefined;
  return {
    message: "confirm.tools names tools, and confirm.by nobody: their calls do not wait",
    remedy: "name the clients that may confirm in confirm.by",
  };
}

function namesWhatIsOff({ profile, tools: { off, exec } }: ProfileContext): Finding | undefined {
  const { tools: names } = profile;
  const useless = new Set(ineffectiveTools(profile));
  const isOff = (name: string): boolean =>
    isSwitchedOff(name, off) || (name === "exec" && exec.allow_remote === false);
  const switched = names.filter(isOff);
  const empty = names.filter((name) => useless.has(name));
  if (switched.length > 0) {
    return {
      message: `names tools that are switched off: ${switched.join(", ")}`,
      remedy: switched.includes("exec")
        ? "remove the name, or tools.exec.allow_remote: false"
        : `remove the name, or set tools.${switched[0]}.enabled to true`,
    };
  }
  if (empty.length === 0) return undefined;
  return {
    message: `names tools that can do nothing: ${empty.join(", ")}`,
    remedy: `add what they may use to the profile: ${[...new Set(empty.map(neededBy))].join(", ")}`,
  };
}

/** The keys of a profile without which a tool can do nothing. */
function neededBy(tool: string): string {
  if (tool === "ask_agent") return "agents";
  if (tool === "set_device") return "topics.publish";
  return tool === "mqtt" || tool === "devices" ? "topics" : "read or write";
}

/** Where commands and the tools for files run, if several gateways share one store. */
export function pinCheck(tools: Pick<ToolSettings, "exec">, gateway: string): Check {
  const { pin = "" } = tools.exec;
  const name = "exec and the tools for files";
  if (pin === gateway) return { name, result: "ok", message: "run on this gateway alone" };
  if (pin !== "") {
    return {
      name,
      result: "ok",
      message: `run on the gateway ${pin}, not on this one, ${gateway}`,
    };
  }
  return {
    name,
    result: "warn",
    message:
      "are off: several gateways share gateway.store, and any of them may answer, each with other files",
    remedy: `set tools.exec.pin to the name of the gateway that is meant; this one is ${JSON.stringify(gateway)}`,
  };
}

/** Bytes of one file. */
const MAX_FILE = 1024 * 1024;
/** Fields of AGENT.md that the Go program uses and this one does not. */
const FIELDS = ["model"] as const;

/** One warning for each part of a Go workspace that has no effect here. */
export async function goWorkspaceChecks(workspace: string): Promise<readonly Check[]> {
  const agent = await textOf(workspace, "AGENT.md");
  const { fields } = await documentOf(agent);
  return FIELDS.filter((field) => fields.has(field)).map((field) => ({
    name: "AGENT.md",
    result: "warn",
    message: `${field} of AGENT.md has no effect here`,
    remedy: "remove it, or run the Go program for it",
  }));
}

/** The text of a file; "" if it cannot be read. */
async function textOf(workspace: string, name: string): Promise<string> {
  try {
    return (await readWithin(workspace, join(workspace, name), MAX_FILE)).text;
  } catch {
    return "";
  }
}
