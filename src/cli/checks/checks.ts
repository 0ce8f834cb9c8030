import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { haveCommandsNetwork } from "../../agent/access/permissions.ts";
import { goWorkspaceChecks, modelChecks, permissionChecks } from "../../agent/checks.ts";
import { commandCheck, rootCheck } from "../../agent/tools/exec/sandbox/check.ts";
import { OWNER_FILES } from "../../agent/workspace/contract.ts";
import type { Check, Diagnosis } from "../../base/contract.ts";
import { codeOf } from "../../base/failure.ts";
import { userId } from "../../base/host.ts";
import type { Log } from "../../base/log.ts";
import { listed } from "../../base/truncate.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import { isAllowed } from "../../gateway/channel-policy.ts";
import { identityCheck, trustCheck, watchCertificates } from "../../mqtt/checks/tls.ts";
import type { Cluster } from "../../store/contract/cluster.ts";
import { shellWord } from "../shell-word.ts";
import { isShared } from "../state/conversations.ts";
import { learnedIn, stateFolderOf } from "../state/state-folder.ts";

export interface ChecksOptions {
  /** As the gateway connects to them: a built-in broker with its port. */
  readonly channels: readonly MqttChannel[];
  readonly config: Config;
  /** Files that only their owner should be able to read. */
  readonly secretFiles: readonly string[];
  /** The home folder of the program. */
  readonly home?: string | undefined;
  readonly configFile?: string | undefined;
  /** Of a store that several gateways share. */
  readonly cluster?: Pick<Cluster, "owner" | "gateways"> | undefined;
}

/** All checks of a configuration, except for the connections of its channels. */
export async function runChecks(
  options: ChecksOptions,
): Promise<readonly (Check & { readonly code: string })[]> {
  const { channels, config, secretFiles } = options;
  const { tools, agents } = config;
  const { workspace } = agents.defaults;
  const isOneConversation = isShared(config.session);
  const isOpenToCommands = haveCommandsNetwork(tools);
  const rights = permissionChecks({ tools, workspace, isShared: isOneConversation });
  return [
    ...coded("broker.trust", channels.map(trustCheck)),
    ...coded(
      "broker.identity",
      channels.map((channel) => identityCheck(channel, isOpenToCommands)),
    ),
    ...coded("model.config", await modelChecks(config, learnedIn(config))),
    ...coded("workspace.go", await goWorkspaceChecks(workspace)),
    ...coded("access.clients", accessChecks(config.channels)),
    ...coded("access.watch", watchChecks(config)),
    ...coded("model.prices", priceChecks(config)),
    ...coded("access.tools", rights),
    ...coded("exec.root", [rootCheck()]),
    ...coded("exec.sandbox", [await commandCheck(config)]),
    ...coded("files.mode", await modeChecks(secretFiles)),
    ...coded("files.mode", await placeChecks(placesOf(options))),
    ...coded("cluster", await sharedChecks(options)),
  ];
}

/** Those that were made, with the code of their kind. */
export function coded(
  code: string,
  checks: readonly (Check | undefined)[],
): readonly (Check & { readonly code: string })[] {
  return checks.flatMap((check) => (check === undefined ? [] : [{ ...check, code }]));
}

async function sharedChecks({ cluster, ...options }: ChecksOptions): Promise<readonly Check[]> {
  if (cluster === undefined) return [];
  const { clusterChecks } = await import("./cluster.ts");
  return clusterChecks({ ...options, cluster });
}

function placesOf({ config, secretFiles, home, configFile }: ChecksOptions): Places {
  const { workspace } = config.agents.defaults;
  const state = stateFolderOf(config);
  const files = [home, configFile].filter((file) => file !== undefined);
  return {
    trusted: [
      ...files,
      ...secretFiles.map((file) => dirname(file)),
      workspace,
      state,
      ...[...OWNER_FILES, "memory", "memory/MEMORY.md"].map((name) => join(workspace, name)),
    ],
    closed: [join(state, "picoclaw.db")],
  };
}

/**
 * Logs the checks that are not ok, and watches the certificates until the returned function is called. Rejects if a
 * check cannot be made.
 */
export async function checkAndWatch(
  options: ChecksOptions & { readonly log: Log },
): Promise<() => Promise<void>> {
  const { channels, config, log } = options;
  logChecks(await runChecks(options), log);
  const { mcp, ollama, host } = config.gateway;
  if (mcp.enabled || ollama.enabled) {
    const { httpClientChecks } = await import("./http-clients.ts");
    logChecks(httpClientChecks(config, host), log);
  }
  return watchCertificates(channels, log);
}

function logChecks(checks: readonly Omit<Diagnosis, "code">[], log: Log): void {
  for (const { name, result, message, remedy } of checks) {
    if (result === "ok") continue;
    log[result === "fail" ? "error" : "warn"](message, { about: name, try: remedy });
  }
}

/** Channels on which no client is allowed. */
function accessChecks(channels: readonly MqttChannel[]): readonly Check[] {
  return channels
    .filter(({ deny_from }) => deny_from.includes("*"))
    .map(({ name }) => ({
      name: `clients of ${name}`,
      result: "warn",
      message: "deny_from contains *, so no client is answered",
      remedy: `name the clients in channel_list.${name}.deny_from, or disable the channel`,
    }));
}

/** What is watched, that no model says what comes of it, and the clients that are not allowed to get it. */
function watchChecks({ channels, tools: { watch }, model_list }: Config): readonly Check[] {
  if (watch.length === 0) return [];
  const texts = watch.map(({ topic, written, client }) => `${topic} (${written}) for ${client}`);
  const refused = watch.filter(({ channel, client }) => {
    const found = channels.find(({ name }) => name === channel);
    return found && !isAllowed({ allowFrom: found.allow_from, denyFrom: found.deny_from }, client);
  });
  return [
    { name: "watch", result: "ok", message: listed(texts, MOST_WATCHES) },
    ...(model_list.some(({ enabled }) => enabled) ? [] : [UNTHINKING]),
    ...refused.map(({ topic, client, channel }): Check => ({
      name: "watch",
      result: "warn",
      message: `${topic} begins no turn: its client ${client} is not allowed on ${channel}`,
      remedy: `name the client in channel_list.${channel}.allow_from, or another one in the watch`,
    })),
  ];
}

const MOST_WATCHES = 10;
const UNTHINKING: Check = {
  name: "watch",
  result: "warn",
  message: "without a model no prompt is followed: each match sends what the offline agent says",
  remedy: "add an entry to model_list, with its api_keys in .security.yml",
};

/** Models without prices, which a budget of cost does not count. */
function priceChecks({ channels, gateway, model_list }: Config): readonly Check[] {
  const limits = [
    gateway.limits,
    ...channels.flatMap(({ settings }) => [settings.limits, settings.limits.total]),
  ];
  if (!limits.some(({ cost_per_day: cost }) => cost > 0)) return [];
  const free = model_list.filter(({ enabled, prices }) => enabled && prices === undefined);
  return [...new Set(free.map(({ model_name }) => model_name))].map((name) => ({
    name: `prices of ${name}`,
    result: "warn",
    message: "cost_per_day is set, but this model has no prices, so its answers cost nothing",
    remedy:
      'add "prices": {"input": …, "output": …} (per million tokens) to its entry in model_list',
  }));
}

/** All mode bits but the owner's, and the same without read permission of the group. */
const OTHERS = 0o077;
const ALL_BUT_GROUP_READ = 0o037;
const ROOT = 0;

/**
 * Checks that only the owner can read files with secrets. Returns one warning for each file that others
 * can read, else one check for all. Returns nothing if no file exists or the system has no modes.
 */
export async function modeChecks(files: Iterable<string>): Promise<readonly Check[]> {
  const me = userId();
  if (me === undefined) return [];
  const looked = [...new Set(files)].map(async (file) => ({ file, facts: await factsOf(file) }));
  const found = (await Promise.all(looked)).flatMap(({ file, facts }) =>
    facts === undefined ? [] : [{ file, ...facts }],
  );
  const open = found.flatMap((one) => openCheck(one, me) ?? []);
  if (found.length === 0 || open.length > 0) return open;
  const those = found.length === 1 ? "the file" : `all ${found.length} files`;
  const message = `only the owner can read ${those} with secrets`;
  return [{ name: "mode of secrets", result: "ok", message }];
}

interface FileFacts {
  readonly mode: number;
  readonly uid: number;
}

/** Undefined if the file does not exist or cannot be reached; its reader reports that. */
async function factsOf(file: string): Promise<FileFacts | undefined> {
  try {
    const { mode, uid } = await stat(file);
    return { mode: mode & 0o777, uid };
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(codeOf(error))) return undefined;
    throw error;
  }
}

/** In /etc, files of root that the group of one service may read are usual and safe, unless we are root. */
function openCheck(
  { file, mode, uid }: FileFacts & { readonly file: string },
  me: number,
): Check | undefined {
  const name = `mode of ${file}`;
  if (uid !== me && uid !== ROOT) {
    const message = `${file} holds secrets and belongs to another user (${uid}), who can read and change it`;
    return { name, result: "warn", message, remedy: `sudo chown ${me} ${shellWord(file)}` };
  }
  const forbidden = uid === ROOT && me !== ROOT ? ALL_BUT_GROUP_READ : OTHERS;
  if ((mode & forbidden) === 0) return undefined;
  const message = `${file} holds secrets and is open to ${whoOf(mode)} (mode ${mode.toString(8)})`;
  const wanted = forbidden === OTHERS ? "600" : "640";
  return { name, result: "warn", message, remedy: `chmod ${wanted} ${shellWord(file)}` };
}

/** Files and folders that others must not change or read. */
interface Places {
  /** They decide who the agent is and what it may do. Some may not exist. */
  readonly trusted: Iterable<string>;
  /** Files that were created for their owner only. */
  readonly closed: Iterable<string>;
}

const BY_EVERYONE = 0o002;
const WRITE_OF_OTHERS = 0o022;

/** One warning for each trusted place that others can change and each closed one that they can read. */
export async function placeChecks({ trusted, closed }: Places): Promise<readonly Check[]> {
  if (userId() === undefined) return [];
  const found = await Promise.all([
    ...[...new Set(trusted)].map((file) => placeCheck(file, BY_EVERYONE, "o-w")),
    ...[...new Set(closed)].map((file) => placeCheck(file, OTHERS, "600")),
  ]);
  return found.filter((check) => check !== undefined);
}

/** A warning if the mode has one of the `forbidden` bits; `wanted` is the mode for chmod. */
async function placeCheck(
  file: string,
  forbidden: number,
  wanted: string,
): Promise<Check | undefined> {
  const { mode = 0 } = (await factsOf(file)) ?? {};
  if ((mode & forbidden) === 0) return undefined;
  const reads = (forbidden & mode & ~WRITE_OF_OTHERS) === 0 ? [] : ["read"];
  const can = [...reads, ...((mode & WRITE_OF_OTHERS) === 0 ? [] : ["changed"])].join(" and ");
  const message = `${file} can be ${can} by ${whoOf(mode)} (mode ${mode.toString(8)})`;
  const remedy = `chmod ${wanted} ${shellWord(file)}`;
  return { name: `mode of ${file}`, result: "warn", message, remedy };
}

function whoOf(mode: number): string {
  return (mode & 0o007) === 0 ? "its group" : "every user of this machine";
}
