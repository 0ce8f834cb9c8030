import { resolve } from "node:path";
import * as v from "valibot";
import { Failure } from "../base/failure.ts";
import { nearestWord } from "../base/spelling.ts";
import { GO_KEYS } from "./compat/go/keys.ts";
import type { ConfigFlags } from "./contract.ts";
import { readText } from "./files.ts";
import { didYouMean, quotable } from "./findings.ts";
import type { Problem, Warning } from "./findings.ts";
import { CONFIG_FLAGS } from "./flags.ts";
import { SETTINGS } from "./keys/channel.ts";
import { keysIn } from "./keys/key.ts";
import type { Key, PlacedKey } from "./keys/key.ts";
import { KEYS } from "./keys/keys.ts";
import { branch, leaf, untypedLeaf, withDeepChild } from "./tree.ts";
import type { Branch, Leaf, Origin } from "./tree.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** A key that a variable sets. In its path, `*` is the name of a channel. */
interface Variable {
  readonly name: string;
  readonly path: readonly string[];
  readonly schema: Key["schema"];
}

const CHANNEL_PREFIX = "PICOCLAW_CHANNELS_MQTT_";
const DEFAULTS_PREFIX = "PICOCLAW_AGENTS_DEFAULTS_";
const TOOLS_PREFIX = "PICOCLAW_TOOLS_";

/** The variable of a key. For settings of a channel it holds the type, not the channel's name. */
export function variableOf({ path, key: { variable } }: PlacedKey): string | undefined {
  if (variable !== true) return variable;
  const inChannel = path[0] === "channel_list";
  const words = inChannel ? ["channels", "mqtt", ...path.slice(3)] : path;
  return ["picoclaw", ...words].join("_").toUpperCase();
}

const VARIABLES: readonly Variable[] = keysIn(KEYS).flatMap((placed) => {
  const name = variableOf(placed);
  const { path, key } = placed;
  return name === undefined ? [] : [{ name, path, schema: key.schema }];
});

/** Variables with which Go PicoClaw sets what this program does not use. */
const GO_VARIABLES = [
  ...GO_KEYS.agentDefaults.map((key) => DEFAULTS_PREFIX + key.toUpperCase()),
  ...GO_KEYS.tools.map((key) => TOOLS_PREFIX + key.toUpperCase()),
  ...GO_KEYS.web.map((key) => `${TOOLS_PREFIX}WEB_${key.toUpperCase()}`),
];

/** Prefixes of variables for keys. */
const PREFIXES = [CHANNEL_PREFIX, DEFAULTS_PREFIX, TOOLS_PREFIX];

/** The channels of type mqtt that variables change. */
export interface EnvironmentTarget {
  readonly channels: readonly string[];
  /** Whether config.json has one, enabled or not. Otherwise variables create one. */
  readonly inFile: boolean;
}

/** Adds the environment to a tree. An empty variable counts as unset. */
export function withEnvironment(
  tree: Branch,
  env: Environment,
  { channels, inFile }: EnvironmentTarget,
): { readonly tree: Branch; readonly problems: readonly Problem[] } {
  let result = tree;
  const set = (path: readonly string[], child: Leaf): void => {
    result = withDeepChild(result, path, child);
  };
  const given = valuesIn(env);
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

/** The values of variables with their problems, whether or not a channel uses them. */
function valuesIn(env: Environment) {
  return VARIABLES.flatMap(({ name, path, schema }) => {
    const text = env[name];
    if (text === undefined || text === "") return [];
    const origin: Origin = { from: "environment", variable: name };
    const value = untypedLeaf(text, origin);
    const { issues = [] } = v.safeParse(schema, value);
    const faults = issues.map(({ message }): Problem => ({ origin, path, text: message }));
    return [{ path, value, faults }];
  });
}

/** Warns of variables that look like settings and are not known. */
export function unknownVariables(env: Environment): Warning[] {
  const words = [...VARIABLES.map(({ name }) => name), ...GO_VARIABLES];
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

/**
 * The settings of flags, for every enabled channel of type mqtt; undefined without flags. Reads the
 * password's file. `--cafile` turns verification on, whatever the file says.
 */
export async function flagSettings(
  flags: ConfigFlags,
  cwd: string,
): Promise<Branch | undefined | Failure> {
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
    const value = key.flag === "password-file" ? await passwordIn(text) : text;
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

async function passwordIn(file: string): Promise<string | Failure> {
  const text = await readText(file);
  if (typeof text === "string") return text.replace(/\r?\n$/, "");
  const why = text === undefined ? `${file} does not exist` : `${text.message}: ${text.why}`;
  return new Failure("config", `--password-file: ${file} cannot be read`, {
    why,
    remedy: "name a file that holds only the password",
  });
}
