import { dirname, join, resolve } from "node:path";
import type { PostgresAddress } from "../base/contract.ts";
import { Failure } from "../base/failure.ts";
import { nearestWord } from "../base/spelling.ts";
import { parseBroker } from "./broker.ts";
import { mqttChannels, mqttNames, withoutUrlCredentials, withSettings } from "./channels.ts";
import { GO_VARIABLES } from "./compat/go/keys.ts";
import { refusalOf, unsupportedKeys } from "./compat/go/unsupported.ts";
import type { Config, ConfigFlags, LoadedConfig, ModelEntry } from "./contract.ts";
import { absolutePath, configPaths, readFiles, SECURITY, readText } from "./files.ts";
import type { ConfigFiles, ConfigPaths, Surroundings } from "./files.ts";
import { didYouMean, Findings, problemsFailure, quotable } from "./findings.ts";
import type { Problem, Warning } from "./findings.ts";
import { CONFIG_FLAGS } from "./flags.ts";
import { isOtherChannel, SETTINGS } from "./keys/channel.ts";
import type { Group, Row } from "./keys/key.ts";
import { keysIn } from "./keys/key.ts";
import { KEYS, keysWithVariables } from "./keys/keys.ts";
import type { Variable } from "./keys/keys.ts";
import { mcpSettings } from "./mcp.ts";
import { checkModels, entryNamed, modelEntries } from "./models.ts";
import { withSecrets } from "./secrets.ts";
import type { PostgresStore } from "./store/store.ts";
import { hookSettings, toolProfiles, toolSettings, turnProfile, watchReader } from "./tools.ts";
import { isComment, pathText, branch, leaf, textAt, untypedLeaf, withDeepChild } from "./tree.ts";
import type { Branch, Path, Tree, Leaf, Origin } from "./tree.ts";

export interface LoadOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user's home directory. */
  readonly home: string;
  readonly flags?: ConfigFlags;
  /** Base of relative paths in flags and variables. */
  readonly cwd?: string;
  /** Texts to take in place of those of config.json and .security.yml, by path. */
  readonly draft?: ReadonlyMap<string, string>;
}

/**
 * Loads the configuration: defaults < config.json < .security.yml < environment < flags. Reads the files
 * of Go PicoClaw at versions 0 to 3 as they are. Returns a Failure of code `config` with all wrong values
 * at once. Never throws for the content of a file, and never writes one.
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig | Failure> {
  const inspected = await inspectConfig(options);
  if (inspected instanceof Failure) return inspected;
  const { tree: _, problems, config, ...rest } = inspected;
  if (config === undefined || problems.length > 0) return problemsFailure(problems, rest.file);
  const unused = unusedAuthority(config, options.flags);
  if (unused !== undefined) return problemsFailure([unused], rest.file);
  return { ...rest, config };
}

/** `--cafile` where no broker is reached by TLS: who gives it expects to be protected. */
function unusedAuthority({ channels }: Config, { cafile }: ConfigFlags = {}): Problem | undefined {
  const brokers = channels.flatMap(({ settings }) => settings.broker);
  const kinds = brokers.map((broker) => parseBroker(broker).kind);
  const isUsed = kinds.some((kind) => kind === "tls" || kind === "wss");
  const [broker] = brokers;
  if (cafile === undefined || broker === undefined || isUsed) return undefined;
  const text = `${broker} is reached without TLS; begin it with mqtts:// or wss://, or leave the flag out`;
  return { origin: { from: "flag", flag: "--cafile" }, path: [], text };
}

/** What all layers say, right or wrong. */
export interface Inspection extends Omit<LoadedConfig, "config"> {
  /** All layers at version 3, with secrets, without defaults. */
  readonly tree: Branch;
  readonly problems: readonly Problem[];
  /** Absent if a value is wrong. */
  readonly config: Config | undefined;
}

/** As `loadConfig`, but with what is wrong as data. A Failure if a file cannot be read at all. */
export async function inspectConfig(options: LoadOptions): Promise<Inspection | Failure> {
  const { env, home: userHome, flags = {}, cwd = ".", draft } = options;
  const paths = configPaths({ env, userHome, cwd });
  const place = { env, userHome, cwd, ...paths };
  const files = homeless(options) ?? (await readFiles(paths.file, draft));
  if (files instanceof Failure) return files;
  const settings = flagSettings(flags, cwd);
  if (settings instanceof Failure) return settings;
  const layers = await layered(files, settings, place);
  const findings = new Findings(layers.tree);
  const store = await postgresIn(layers.tree, findings, place);
  const parts = { store: store?.address, watchesIn: await watchReader(layers.tree) };
  const config = assembled(layers.tree, findings, place, parts);
  const ignored = config?.gateway.ignore_unsupported ?? [];
  const refused = refusalOf(findings, ignored, paths.file);
  return {
    tree: layers.tree,
    config,
    problems: [...layers.problems, ...findings.problems],
    warnings: [...layers.warnings, ...findings.warnings, ...refused.ignored],
    ...(refused.refusal && { refusal: refused.refusal }),
    ...paths,
    found: files.found,
    secretFiles: [
      ...layers.secretFiles,
      join(dirname(paths.file), SECURITY),
      ...keyFiles(config),
      ...(store?.secretFiles ?? []),
    ],
  };
}

/** A draft needs no home folder. */
function homeless({ env, home, draft }: LoadOptions): Failure | undefined {
  if (home !== "" || env["PICOCLAW_HOME"] || draft !== undefined) return undefined;
  return new Failure("config", "there is no home folder for picoclaw", {
    why: "neither PICOCLAW_HOME nor HOME is set, and this user has no home folder",
    remedy: "set PICOCLAW_HOME to a folder that this user may write",
  });
}

/** Whether a store is named that is not in files of this machine. */
function hasStoreUrl(tree: Branch): boolean {
  return textAt(tree, "gateway", "store").includes("://");
}

/** Where the store is, if that is not in files of this machine. */
async function postgresIn(
  tree: Branch,
  findings: Findings,
  place: Surroundings & ConfigPaths,
): Promise<PostgresStore | undefined> {
  if (!hasStoreUrl(tree)) return undefined;
  const { postgresStore } = await import("./store/store.ts");
  return postgresStore(tree, findings, place);
}

function keyFiles(config: Config | undefined): string[] {
  const keys = config?.channels.flatMap(({ settings }) => settings.tls.key_file ?? []) ?? [];
  return [...keys, ...(config?.tools.mcp?.servers.flatMap(({ env_file }) => env_file ?? []) ?? [])];
}

/**
 * The settings of flags, for every enabled channel of type mqtt; undefined without flags. Reads the
 * password's file. `--cafile` turns verification on, whatever the file says.
 */
function flagSettings(flags: ConfigFlags, cwd: string): Branch | undefined | Failure {
  const settings: (readonly [path: readonly string[], value: Leaf])[] = [];
  const { insecure, cafile } = flags;
  if (cafile !== undefined) settings.push([["tls", "verify"], flagLeaf(true, "cafile")]);
  if (insecure === true) settings.push([["tls", "verify"], flagLeaf(false, "insecure")]);
  for (const { path, key } of keysIn(SETTINGS)) {
    if (key.flag === undefined || key.flag === "insecure") continue;
    const written = flags[key.flag];
    if (written === undefined) continue;
    const isFile = CONFIG_FLAGS[key.flag].type === "file";
    const text = isFile ? resolve(cwd, written) : written;
    const value = key.flag === "password-file" ? passwordIn(text) : text;
    if (value instanceof Failure) return value;
    settings.push([path, flagLeaf(value, key.flag)]);
  }
  const [first] = settings;
  if (first === undefined) return undefined;
  return settings.reduce(
    (tree, [path, value]) => withDeepChild(tree, path, value),
    branch([], first[1].origin),
  );
}

function flagLeaf(value: Leaf["value"], flag: string): Leaf {
  return leaf(value, { from: "flag", flag: `--${flag}` });
}

function passwordIn(file: string): string | Failure {
  const text = readText(file);
  if (typeof text === "string") return text.replace(/\r?\n$/, "");
  const why = text === undefined ? `${file} does not exist` : `${text.message}: ${text.why}`;
  return new Failure("usage", `--password-file: ${file} cannot be read`, {
    why,
    remedy: "name a file that holds only the password",
  });
}

interface Layered {
  /** At version 3, with secrets, without defaults. */
  readonly tree: Branch;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Warning[];
  /** Files that hold secrets. */
  readonly secretFiles: ReadonlySet<string>;
}

/** All layers in one tree: config.json < .security.yml < environment < flags. */
async function layered(
  files: ConfigFiles,
  flags: Branch | undefined,
  { env, userHome, file }: Surroundings & ConfigPaths,
): Promise<Layered> {
  const target = {
    channels: mqttNames(files.tree),
    inFile: mqttNames(files.config).length > 0,
  };
  // Most commands start without such a variable, and need not search the table for its key.
  const isGiven = Object.keys(env).some((name) => name.startsWith("PICOCLAW_"));
  const variables = isGiven ? keysWithVariables() : [];
  const environment = withEnvironment(files.tree, valuesIn(env, variables), target);
  const all = flags === undefined ? environment.tree : withSettings(environment.tree, flags);
  const folder = dirname(file);
  const channels = withoutUrlCredentials(all);
  const bare = hasStoreUrl(channels)
    ? (await import("./store/store.ts")).withoutStorePassword(channels)
    : channels;
  const secrets = await withSecrets(bare, { env, userHome, folder });
  return {
    tree: secrets.tree,
    problems: [...environment.problems, ...secrets.problems],
    secretFiles: secrets.files,
    warnings: [
      ...files.warnings,
      ...unknownVariables(env, variables),
      ...missingFile(files.found, env, file),
    ],
  };
}

/** The channels of type mqtt that variables change. */
interface EnvironmentTarget {
  readonly channels: readonly string[];
  /** Whether config.json has one, enabled or not. Otherwise variables create one. */
  readonly inFile: boolean;
}

/** Adds the environment to a tree. */
function withEnvironment(
  tree: Branch,
  given: readonly Given[],
  { channels, inFile }: EnvironmentTarget,
): { readonly tree: Branch; readonly problems: readonly Problem[] } {
  let result = tree;
  const set = (path: readonly string[], child: Leaf): void => {
    result = withDeepChild(result, path, child);
  };
  const ofChannels = given.filter(({ path }) => path[0] === "channel_list");
  for (const { path, value } of given) if (path[0] !== "channel_list") set(path, value);
  for (const name of channels.length > 0 ? channels : ["mqtt"]) {
    for (const { path, value } of ofChannels) set(["channel_list", name, ...path.slice(2)], value);
    const [first] = ofChannels;
    if (first === undefined || inFile) continue;
    set(["channel_list", name, "enabled"], leaf(true, first.value.origin));
  }
  return { tree: result, problems: given.flatMap(({ faults }) => faults) };
}

/** The value of a variable, with its problems. */
interface Given {
  readonly path: readonly string[];
  readonly value: Leaf;
  readonly faults: readonly Problem[];
}

/** The values of variables, whether or not a channel uses them. An empty variable counts as unset. */
function valuesIn(env: Surroundings["env"], variables: readonly Variable[]): readonly Given[] {
  return variables.flatMap(({ name, path, key }) => {
    const written = env[name];
    if (written === undefined || written === "") return [];
    const origin: Origin = { from: "environment", variable: name };
    const value = untypedLeaf(written, origin);
    const faults: Problem[] = [];
    key.read(value, path, (_, text) => faults.push({ origin, path, text }));
    return [{ path, value, faults }];
  });
}

/** How the names of variables for keys begin. */
const PREFIXES = ["PICOCLAW_CHANNELS_MQTT_", "PICOCLAW_AGENTS_DEFAULTS_", "PICOCLAW_TOOLS_"];

/** Warns of variables that look like settings and are not known. */
function unknownVariables(env: Surroundings["env"], known: readonly Variable[]): Warning[] {
  const words = [...known.map(({ name }) => name), ...GO_VARIABLES];
  return Object.keys(env).flatMap((name) => {
    const isOurs = PREFIXES.some((prefix) => name.startsWith(prefix));
    if (!isOurs || !env[name] || words.includes(name)) return [];
    if (GO_VARIABLES.some((variable) => name.startsWith(`${variable}_`))) return [];
    const nearest = nearestWord(name, words);
    const message = `environment ${quotable(name)} is unknown and has no effect`;
    if (nearest === undefined) return [{ message }];
    return [{ message: message + didYouMean(nearest), remedy: `rename it to ${nearest}` }];
  });
}

/** Warns if `PICOCLAW_CONFIG` names a file that does not exist. */
function missingFile(found: boolean, env: Surroundings["env"], file: string): Warning[] {
  if (found || !env["PICOCLAW_CONFIG"]) return [];
  const message = `environment PICOCLAW_CONFIG: ${file} does not exist`;
  return [{ message, remedy: "correct the path, or unset the variable" }];
}

interface ReadApart {
  readonly store: PostgresAddress | undefined;
  readonly watchesIn: Awaited<ReturnType<typeof watchReader>>;
}

/**
 * The configuration of a tree, with defaults; undefined if a value is wrong. Adds all problems and
 * warnings to the findings.
 */
function assembled(
  tree: Branch,
  findings: Findings,
  place: Surroundings & ConfigPaths,
  { store, watchesIn }: ReadApart,
): Config | undefined {
  checkKeys(tree, KEYS, [], findings);
  unsupportedKeys(tree, findings);
  checkModels(tree, findings);
  const { userHome, cwd } = place;
  const channels = mqttChannels(tree, findings, { folder: dirname(place.file), userHome });
  const turn_profile = turnProfile(tree, findings);
  const hooks = hookSettings(tree, findings, { folder: cwd, userHome });
  const output = KEYS.read(tree, [], findings.problem);
  const workspace = workspacePath(output?.agents.defaults.workspace ?? "", findings, place);
  const inWorkspace = { folder: workspace, userHome };
  const profiles = toolProfiles(tree, findings, inWorkspace);
  const mcp = mcpSettings(tree, findings, inWorkspace);
  const watch = watchesIn(tree, channels, findings);
  if (output === undefined) return undefined;
  const model_list = modelEntries(output.model_list);
  const { model_name: named, ...rest } = output.agents.defaults;
  const model_name = entryNamed(named, model_list);
  // A named entry is used even if it is switched off.
  if (model_name === "") warnOfNoModel(model_list, findings);
  const { dimensions, dm_scope } = output.session;
  const { store: _url, store_password: _password, ...gateway } = output.gateway;
  const defaults = {
    ...rest,
    workspace,
    model_name,
    ...(turn_profile && { turn_profile }),
  };
  return {
    agents: { defaults },
    gateway: { ...gateway, ...(store && { store }) },
    model_list,
    channels,
    tools: { ...toolSettings(output.tools, profiles, mcp), watch },
    session: { dimensions: dimensions ?? dm_scope },
    ...(hooks && { hooks }),
    heartbeat: output.heartbeat,
  };
}

/** A relative workspace is relative to config.json; from a variable, to the working directory. */
function workspacePath(
  written: string,
  findings: Findings,
  { cwd, userHome, home, file }: Surroundings & ConfigPaths,
): string {
  if (written.trim() === "") return join(home, "workspace");
  const { from } = findings.originAt(["agents", "defaults", "workspace"]);
  return absolutePath(written, { folder: from === "environment" ? cwd : dirname(file), userHome });
}

function warnOfNoModel(models: readonly ModelEntry[], findings: Findings): void {
  if (models.some(({ enabled }) => enabled)) return;
  const reason =
    models.length === 0
      ? "no model is configured"
      : "no entry of model_list is enabled or has a key";
  findings.warn(
    [],
    `${reason}, so the offline agent answers: it knows only its device`,
    "add an entry to model_list, with its api_keys in .security.yml",
  );
}

/** Warns of keys that are not in the table. */
function checkKeys(tree: Tree, row: Row, path: Path, findings: Findings): void {
  if (row.kind === "key") return;
  if (row.kind === "list" && tree.kind === "list") {
    tree.items.forEach((item, index) => checkKeys(item, row.each, [...path, index], findings));
  }
  if (tree.kind !== "branch") return;
  for (const [name, child] of tree.entries) {
    const at = [...path, name];
    if (row.kind !== "group") {
      if (!isOtherChannel(at, child)) checkKeys(child, row.each, at, findings);
    } else {
      const inner = Object.hasOwn(row.rows, name) ? row.rows[name] : undefined;
      if (inner !== undefined) checkKeys(child, inner, at, findings);
      else warnOfKey(at, row, findings);
    }
  }
}

function warnOfKey(path: Path, { rows, also }: Group, findings: Findings): void {
  const key = String(path.at(-1));
  if (also === "any" || also.includes(key) || isComment(key)) return;
  const nearest = nearestWord(key, [...Object.keys(rows), ...also]);
  const meant = nearest && quotable(pathText([...path.slice(0, -1), nearest]), 200);
  findings.warn(
    path,
    `is not a known key and has no effect${didYouMean(nearest)}`,
    meant && `rename it to ${meant}`,
  );
}
