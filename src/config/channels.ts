import { isPattern } from "../base/client-pattern.ts";
import type { Secret } from "../base/secret.ts";
import { nearestWord } from "../base/spelling.ts";
import { credentialsDiffer, writtenBrokers } from "./broker-list.ts";
import { brokerCredentials, parseBroker } from "./broker.ts";
import { OTHER_CHANNEL_TYPES } from "./compat/go/keys.ts";
import type { ClientSettings, MqttChannel, MqttSettings, TlsSettings } from "./contract.ts";
import { absolutePath } from "./files.ts";
import type { PathBases } from "./files.ts";
import type { Findings } from "./findings.ts";
import { checkPattern, didYouMean, quotable } from "./findings.ts";
import {
  CHANNEL,
  channelType,
  CLIENT,
  DEFAULT_KEEP_ALIVE,
  HOME_ASSISTANT,
  SETTINGS,
} from "./keys/channel.ts";
import type { ValuesOf } from "./keys/key.ts";
import {
  branch,
  branchAt,
  childOf,
  isComment,
  leaf,
  list,
  mergeBranches,
  textAt,
  withChild,
  withDeepChild,
} from "./tree.ts";
import type { Branch, Origin, Path, Tree } from "./tree.ts";
import { enabledOf, namedEntries } from "./values.ts";

type Settings = ValuesOf<typeof SETTINGS.rows>;

/** The enabled channels of type mqtt. Adds their problems and warnings to the findings. */
export function mqttChannels(tree: Branch, findings: Findings, bases: PathBases): MqttChannel[] {
  const found: MqttChannel[] = [];
  const others: string[] = [];
  const channels = tree.entries.get("channel_list");
  for (const [name, entry] of namedEntries(channels, ["channel_list"], findings.problem)) {
    const type = channelType(name, entry);
    if (type === "mqtt") found.push(...mqttChannel(name, entry, findings, bases));
    else if (OTHER_CHANNEL_TYPES.has(type)) others.push(...(isOff(entry) ? [] : [type]));
    else if (!isComment(name)) warnOfType(name, type, findings);
  }
  warnOfOthers(others, findings);
  warnOfDuplicates(found, findings);
  return found;
}

/** Empty for a channel that is not enabled: its settings are not checked. */
function mqttChannel(
  name: string,
  entry: Tree,
  findings: Findings,
  bases: PathBases,
): MqttChannel[] {
  const path = ["channel_list", name];
  if (entry.kind === "branch") {
    const written = childOf(entry, "enabled");
    const enabled = CHANNEL.rows.enabled.read(written, [...path, "enabled"], findings.problem);
    if (written === undefined) {
      const remedy = 'write "enabled": true, or false';
      findings.warn(path, "has no `enabled`, so it is off", remedy);
    }
    // Of a channel that may be meant to be on, wrong values are reported, but not missing ones.
    if (enabled === undefined)
      CHANNEL.rows.settings.read(
        childOf(entry, "settings"),
        [...path, "settings"],
        findings.problem,
      );
    if (enabled !== true) return [];
    checkSettings(name, branchAt(entry, "settings"), findings);
  }
  const output = CHANNEL.read(entry, path, findings.problem);
  if (output === undefined) return [];
  for (const key of CLIENT_LISTS) checkClients(output[key], [...path, key], findings);
  const clientsIn = (key: (typeof CLIENT_LISTS)[number]): readonly string[] =>
    output[key].filter((client) => client !== "");
  const channel = {
    name,
    allow_from: clientsIn("allow_from"),
    deny_from: clientsIn("deny_from"),
    admin_from: clientsIn("admin_from"),
    settings: {
      ...settingsOf(output.settings, bases),
      clients: clientSettings(childOf(entry, "settings", "clients"), path, findings),
    },
  };
  checkHomeAssistant(channel, path, findings);
  checkA2a(channel.settings, [...path, "settings", "a2a"], findings);
  checkMcp(channel.settings, [...path, "settings", "mcp"], findings);
  return [channel];
}

function checkHomeAssistant(channel: MqttChannel, path: Path, findings: Findings): void {
  const { settings, allow_from: allowed, deny_from: denied } = channel;
  const isAllowed =
    allowed.length === 0 || ["*", HOME_ASSISTANT].some((one) => allowed.includes(one));
  if (!settings.homeassistant.enabled) return;
  const where = [...path, "settings", "homeassistant"];
  const text = `has no effect for questions: the client ${HOME_ASSISTANT} may not ask`;
  if (denied.includes(HOME_ASSISTANT)) findings.warn(where, text, "remove it from deny_from");
  else if (!isAllowed) findings.warn(where, text, "add it to allow_from");
}

function checkA2a({ a2a, agent_id }: MqttSettings, path: Path, findings: Findings): void {
  if (!a2a.enabled) return;
  for (const key of ["org", "unit"] as const) {
    if (a2a[key] === "") findings.problem([...path, key], `A2A needs ${key}: set a2a.${key}`);
  }
  if (a2a.agent === "" && /[^A-Za-z0-9_.-]/.test(agent_id)) {
    const text = `the agent_id ${quotable(agent_id)} is no name for A2A: set a2a.agent`;
    findings.problem([...path, "agent"], text);
  }
}

function checkMcp({ mcp, broker }: MqttSettings, path: Path, findings: Findings): void {
  if (!mcp.enabled || !broker.some((url) => /^embedded(?::|$)/.test(url))) return;
  const text = "MCP over MQTT needs No Local, which the built-in broker does not have";
  findings.problem([...path, "enabled"], text);
}

/** Checks that need more than one value. */
function checkSettings(name: string, settings: Branch | undefined, findings: Findings): void {
  const path: Path = ["channel_list", name, "settings"];
  for (const key of ["broker", "agent_id"] as const) {
    const node = childOf(settings, key);
    if (node !== undefined && !isEmpty(node)) continue;
    const { flag } = SETTINGS.rows[key];
    const ways = `settings.${key}, PICOCLAW_CHANNELS_MQTT_${key.toUpperCase()} or --${flag}`;
    const meant = misspelt(key, settings);
    findings.problem(
      [...path, key],
      `channel ${quotable(name)} has no ${key}: ${meant}set ${ways}`,
    );
  }
  if (childOf(settings, "password") !== undefined && textAt(settings, "username") === "") {
    const remedy = "set the username, or remove the password";
    findings.warn([...path, "password"], "has no effect without a username", remedy);
  }
  if (Number(textAt(settings, "keep_alive")) < 0) {
    const text = `cannot be negative; ${DEFAULT_KEEP_ALIVE} seconds are used, as in the Go program`;
    const remedy = "write a number of seconds from 1 to 65535, or remove the key";
    findings.warn([...path, "keep_alive"], text, remedy);
  }
  checkTls(settings, [...path, "tls"], findings);
}

/** The unknown key that was probably meant to be this one. */
function misspelt(key: string, settings: Branch | undefined): string {
  const unknown = [...(settings?.entries.keys() ?? [])].filter(
    (name) => !Object.hasOwn(SETTINGS.rows, name),
  );
  const found = nearestWord(key, unknown);
  return found === undefined ? "" : `rename ${quotable(found)}, which is not a known key, or `;
}

function checkTls(settings: Branch | undefined, path: Path, findings: Findings): void {
  const tls = branchAt(settings, "tls");
  const [certificate, key] = [textAt(tls, "cert_file"), textAt(tls, "key_file")];
  if (certificate !== "" && key === "") {
    findings.problem([...path, "cert_file"], "needs tls.key_file, its private key");
  }
  if (certificate === "" && key !== "") {
    findings.problem([...path, "key_file"], "needs tls.cert_file, its certificate");
  }
  const kinds = writtenBrokers(childOf(settings, "broker")).map((url) => parseBroker(url).kind);
  const plain = new Set<string>(["tcp", "ws", "unix", "embedded"]);
  if (tls === undefined || kinds.length === 0 || kinds.some((kind) => !plain.has(kind))) return;
  if (!["ca_file", "cert_file", "verify"].some((word) => isSet(textAt(tls, word)))) return;
  const remedy = "use a broker URL with mqtts:// or wss://";
  findings.warn(path, "has no effect, because the broker URL does not use TLS", remedy);
}

function isEmpty(node: Tree): boolean {
  return node.kind === "leaf" ? node.text === "" : node.kind === "list" && node.items.length === 0;
}

function isSet(word: string): boolean {
  return word !== "" && word !== "false";
}

/** `settings.clients`, in the order of the file; an object would put keys like `42` first. */
function clientSettings(
  found: Tree | undefined,
  channel: Path,
  findings: Findings,
): readonly ClientSettings[] {
  const path = [...channel, "settings", "clients"];
  return namedEntries(found, path, findings.problem).flatMap(([pattern, entry]) => {
    checkPattern([...path, pattern], findings);
    const output = CLIENT.read(entry, [...path, pattern], findings.problem);
    return output === undefined ? [] : [{ ...output, pattern }];
  });
}

function settingsOf(settings: Settings, bases: PathBases): Omit<MqttSettings, "clients"> {
  const { username, password, tls, ...rest } = settings;
  return {
    ...rest,
    ...(isFilled(username) && { username }),
    ...(isFilled(password) && { password }),
    tls: tlsOf(tls, bases),
  };
}

function isFilled(secret: Secret | undefined): secret is Secret {
  return secret !== undefined && secret.reveal() !== "";
}

function tlsOf(tls: Settings["tls"], bases: PathBases): TlsSettings {
  const absolute = (file: string): string => absolutePath(file, bases);
  return {
    verify: tls.verify ?? tls.ca_file !== "",
    ...(tls.ca_file !== "" && { ca_file: absolute(tls.ca_file) }),
    ...(tls.cert_file !== "" && { cert_file: absolute(tls.cert_file) }),
    ...(tls.key_file !== "" && { key_file: absolute(tls.key_file) }),
    ...(tls.server_name !== "" && { server_name: tls.server_name }),
  };
}

function isOff(entry: Tree): boolean {
  return ["", "false"].includes(textAt(entry, "enabled"));
}

function warnOfOthers(types: readonly string[], findings: Findings): void {
  const names = [...new Set(types)];
  if (names.length === 0) return;
  const which = names.length === 1 ? "channel type" : "channel types";
  const are = names.length === 1 ? "is" : "are";
  findings.warn(
    ["channel_list"],
    `${which} ${names.join(", ")} ${are} not supported; only mqtt channels are served`,
    "disable these channels, or run Go PicoClaw for them",
  );
}

function warnOfType(name: string, type: string, findings: Findings): void {
  const nearest = nearestWord(type, ["mqtt", ...OTHER_CHANNEL_TYPES]);
  findings.warn(
    ["channel_list", name],
    `"${quotable(type)}" is not a known channel type, so the channel is ignored${didYouMean(nearest)}`,
    `set its type to ${nearest ?? "mqtt"}`,
  );
}

/** Warns of two channels that answer the same requests, or that disconnect each other from the broker. */
function warnOfDuplicates(channels: readonly MqttChannel[], findings: Findings): void {
  const twinsBy = (keyOf: (settings: MqttSettings) => string, text: string): void => {
    const first = new Map<string, string>();
    for (const { name, settings } of channels) {
      const key = keyOf(settings);
      if (key === "") continue;
      const keys = settings.broker.map((broker) => JSON.stringify([broker, key]));
      const twin = keys.map((one) => first.get(one)).find((one) => one !== undefined);
      for (const one of keys) if (!first.has(one)) first.set(one, name);
      if (twin === undefined) continue;
      findings.warn(["channel_list", name], text.replace("%", quotable(twin)));
    }
  };
  twinsBy(
    ({ topic_prefix, agent_id }) => JSON.stringify([topic_prefix, agent_id]),
    "has the same broker, topic_prefix and agent_id as channel %: each request gets two answers",
  );
  twinsBy(
    ({ client_id }) => client_id,
    "has the same broker and client_id as channel %: the broker disconnects one of them",
  );
}

/** Lists of client ids next to `settings` of a channel. */
const CLIENT_LISTS = ["allow_from", "deny_from", "admin_from"] as const;

/** Warns of entries that match no client: entries are compared literally with a level of the topic. */
function checkClients(clients: readonly string[], path: Path, findings: Findings): void {
  for (const [index, client] of clients.entries()) {
    const fault = clientFault(client);
    if (fault === undefined) continue;
    const { text, meant } = fault;
    const remedy = meant === "" ? "write the client id itself" : `write "${quotable(meant)}"`;
    findings.warn([...path, index], `"${quotable(client)}" ${text}`, remedy);
  }
}

interface Fault {
  readonly text: string;
  /** The probable intention; empty if there is none. */
  readonly meant: string;
}

function clientFault(client: string): Fault | undefined {
  if (client === "" || client === "*") return undefined;
  const trimmed = client.trim();
  if (trimmed !== client) {
    return { text: "has blanks around it, which count as a part of the client id", meant: trimmed };
  }
  if (/[/+#\p{Cc}]/u.test(client)) {
    return { text: "cannot be a client id, which is one level of a topic", meant: "" };
  }
  if (isPattern(client)) {
    return { text: "is not a pattern here; it matches only this exact client id", meant: "" };
  }
  if (client.startsWith("mqtt:")) {
    const meant = client.slice("mqtt:".length);
    return { text: "matches only this exact client id, with mqtt:", meant };
  }
  if (client.startsWith("@")) {
    return { text: "matches only this exact client id, with @", meant: client.slice(1) };
  }
  if (client.includes("|")) {
    const [meant = ""] = client.split("|");
    return { text: "matches only this exact client id, not the part before |", meant };
  }
  return undefined;
}

/** The names of the channels of type mqtt, in the order of the file. */
export function mqttNames(tree: Branch): string[] {
  const channels = branchAt(tree, "channel_list")?.entries ?? new Map();
  return [...channels].flatMap(([name, entry]) =>
    entry.kind === "branch" && channelType(name, entry) === "mqtt" ? [name] : [],
  );
}

/** Adds settings to every enabled channel of type mqtt. If there is none, creates one. */
export function withSettings(tree: Branch, settings: Branch): Branch {
  const enabled = mqttNames(tree).filter((name) => enabledOf(channelAt(tree, name)) === true);
  if (enabled.length === 0) {
    const { origin } = settings;
    const entries = { enabled: leaf(true, origin), type: leaf("mqtt", origin), settings };
    return changed(tree, "mqtt", (entry) =>
      mergeBranches(entry, branch(Object.entries(entries), origin)),
    );
  }
  const added = branch([["settings", settings]], settings.origin);
  return enabled.reduce(
    (result, name) => changed(result, name, (entry) => mergeBranches(entry, added)),
    tree,
  );
}

/**
 * Moves user name and password from broker URLs to settings of their own, because URLs are shown. They
 * do not replace a user name from the same layer or a higher one. URLs of one channel with different users
 * stay as they are, and are reported as wrong.
 */
export function withoutUrlCredentials(tree: Branch): Branch {
  return mqttNames(tree).reduce((result, name) => changed(result, name, withCredentials), tree);
}

function withCredentials(entry: Branch): Branch {
  const settings = branchAt(entry, "settings");
  const url = childOf(settings, "broker");
  const written = writtenBrokers(url);
  const all = written.map((text) => brokerCredentials(text));
  const found = all.find(({ broker }, index) => broker !== written[index]);
  if (settings === undefined || url === undefined || found === undefined) return entry;
  if (credentialsDiffer(written)) return entry;
  const { username, password } = found;
  const brokers = all.map(({ broker }) => leaf(broker, url.origin));
  let result = withChild(settings, "broker", list(brokers, url.origin));
  const given = childOf(settings, "username");
  const isGiven = given !== undefined && textAt(settings, "username") !== "";
  if (username !== undefined && !(isGiven && layerOf(given.origin) >= layerOf(url.origin))) {
    result = withChild(result, "username", leaf(username, url.origin));
    if (password !== undefined) {
      result = withChild(result, "password", leaf(password, url.origin));
    }
  }
  return withChild(entry, "settings", result);
}

function changed(tree: Branch, name: string, change: (entry: Branch) => Branch): Branch {
  return withDeepChild(tree, ["channel_list", name], change(channelAt(tree, name)));
}

function channelAt(tree: Branch, name: string): Branch {
  return branchAt(tree, "channel_list", name) ?? branch([], tree.origin);
}

function layerOf({ from }: Origin): number {
  return ["default", "file", "environment", "flag"].indexOf(from);
}
