import * as v from "valibot";
import { nearestWord } from "../base/spelling.ts";
import { GO_KEYS } from "./compat/go/keys.ts";
import type { Origin, Warning } from "./contract.ts";
import { quotable } from "./findings.ts";
import type { Problem } from "./findings.ts";
import { MQTT_SETTINGS } from "./mqtt-schema.ts";
import { AGENT_DEFAULTS, GATEWAY } from "./schema.ts";
import { EXEC, SWITCHED, TOOLS } from "./tools-schema.ts";
import { leaf, untypedLeaf, withDeepChild } from "./tree.ts";
import type { Branch, Leaf } from "./tree.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** A setting that a variable can hold; its path begins at the root, or at a channel. */
interface Setting {
  readonly variable: string;
  readonly path: readonly string[];
  readonly schema: v.GenericSchema;
}

const CHANNEL_PREFIX = "PICOCLAW_CHANNELS_MQTT_";
const DEFAULTS_PREFIX = "PICOCLAW_AGENTS_DEFAULTS_";
const TOOLS_PREFIX = "PICOCLAW_TOOLS_";

/** The settings of a channel of type mqtt that have a variable (contract section 2). */
const CHANNEL_SETTINGS: readonly Setting[] = (
  [
    "broker",
    "agent_id",
    "topic_prefix",
    "username",
    "password",
    "client_id",
    "keep_alive",
    "qos",
  ] as const
).map((key) => ({
  variable: CHANNEL_PREFIX + key.toUpperCase(),
  path: ["settings", key],
  schema: MQTT_SETTINGS[key],
}));

/** The switch of every tool, and what can be set of them beside. */
const TOOL_SETTINGS: readonly Setting[] = [
  ...["exec", "read_file", "web", ...SWITCHED].map((name) =>
    toolSetting([name, "enabled"], EXEC.enabled),
  ),
  ...(
    ["enable_deny_patterns", "allow_remote", "timeout_seconds", "sandbox", "allow_network"] as const
  ).map((key) => toolSetting(["exec", key], EXEC[key])),
  ...(["filter_sensitive_data", "filter_min_length"] as const).map((key) =>
    toolSetting([key], TOOLS[key]),
  ),
];

function toolSetting(path: readonly string[], schema: v.GenericSchema): Setting {
  const variable = TOOLS_PREFIX + path.join("_").toUpperCase();
  return { variable, path: ["tools", ...path], schema };
}

const OTHER_SETTINGS: readonly Setting[] = [
  ...Object.entries(AGENT_DEFAULTS).map(([key, schema]) => ({
    variable: DEFAULTS_PREFIX + key.toUpperCase(),
    path: ["agents", "defaults", key],
    schema,
  })),
  {
    variable: "PICOCLAW_LOG_LEVEL",
    path: ["gateway", "log_level"],
    schema: GATEWAY.log_level,
  },
  { variable: "PICOCLAW_GATEWAY_HOST", path: ["gateway", "host"], schema: GATEWAY.host },
  { variable: "PICOCLAW_GATEWAY_PORT", path: ["gateway", "port"], schema: GATEWAY.port },
  ...TOOL_SETTINGS,
];

/** Variables with which Go PicoClaw sets what this program does not use. */
const GO_VARIABLES = [
  ...GO_KEYS.agentDefaults.map((key) => DEFAULTS_PREFIX + key.toUpperCase()),
  ...GO_KEYS.tools.map((key) => TOOLS_PREFIX + key.toUpperCase()),
  ...GO_KEYS.web.map((key) => `${TOOLS_PREFIX}WEB_${key.toUpperCase()}`),
];

/** What the names of settings begin with. */
const PREFIXES = [CHANNEL_PREFIX, DEFAULTS_PREFIX, TOOLS_PREFIX];

/** The channels of type mqtt that variables are to change. */
export interface EnvironmentTarget {
  readonly channels: readonly string[];
  /** Whether config.json has one, enabled or not; else variables make one. */
  readonly inFile: boolean;
}

/** The tree with what the environment sets. A variable that is empty is unset. */
export function withEnvironment(
  tree: Branch,
  env: Environment,
  { channels, inFile }: EnvironmentTarget,
): { readonly tree: Branch; readonly problems: readonly Problem[] } {
  let result = tree;
  const problems: Problem[] = [];
  const set = (path: readonly string[], child: Leaf): void => {
    result = withDeepChild(result, path, child);
  };
  for (const { path, value, faults } of valuesIn(env, OTHER_SETTINGS)) {
    set(path, value);
    problems.push(...faults);
  }
  const values = valuesIn(env, CHANNEL_SETTINGS);
  problems.push(...values.flatMap(({ faults }) => faults));
  for (const name of channels.length > 0 ? channels : ["mqtt"]) {
    for (const { path, value } of values) set(["channel_list", name, ...path], value);
    const [first] = values;
    if (first === undefined || inFile) continue;
    set(["channel_list", name, "enabled"], leaf(true, first.value.origin));
  }
  return { tree: result, problems };
}

/** What is set, and what is wrong with it whether or not anything comes to use it. */
function valuesIn(env: Environment, settings: readonly Setting[]) {
  return settings.flatMap(({ variable, path, schema }) => {
    const text = env[variable];
    if (text === undefined || text === "") return [];
    const origin: Origin = { from: "environment", variable };
    const value = untypedLeaf(text, origin);
    const { issues = [] } = v.safeParse(schema, value);
    const faults = issues.map(({ message }): Problem => ({ origin, path, text: message }));
    return [{ path, value, faults }];
  });
}

/** Variables that look like settings and are none. */
export function unknownVariables(env: Environment): Warning[] {
  const known = [...CHANNEL_SETTINGS, ...OTHER_SETTINGS].map(({ variable }) => variable);
  const words = [...known, ...GO_VARIABLES];
  return Object.keys(env).flatMap((name) => {
    const isOurs = PREFIXES.some((prefix) => name.startsWith(prefix));
    if (!isOurs || !env[name] || words.includes(name)) return [];
    if (GO_VARIABLES.some((variable) => name.startsWith(`${variable}_`))) return [];
    const nearest = nearestWord(name, words);
    const message = `environment ${quotable(name)} is not known and has no effect`;
    return nearest === undefined
      ? [{ message }]
      : [{ message: `${message}; did you mean ${nearest}?`, remedy: `rename it to ${nearest}` }];
  });
}
