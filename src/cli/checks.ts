import { dirname, join } from "node:path";
import { permissionChecks } from "../agent/checks.ts";
import { modelChecks } from "../agent/checks.ts";
import { goWorkspaceChecks } from "../agent/checks.ts";
import { commandCheck, rootCheck } from "../agent/tools/exec/sandbox/check.ts";
import { OWNER_FILES } from "../agent/workspace/contract.ts";
import type { Check } from "../base/contract.ts";
import { escapeControl } from "../base/escape-control.ts";
import type { Log } from "../base/log.ts";
import type { Config, MqttChannel } from "../config/contract.ts";
import { modeChecks, placeChecks } from "../config/modes.ts";
import type { Places } from "../config/modes.ts";
import { identityCheck, trustCheck } from "../mqtt/checks/tls.ts";
import { isShared, stateFolderOf } from "./conversations.ts";

export interface ChecksOptions {
  /** As the gateway connects to them: a built-in broker with its port. */
  readonly channels: readonly MqttChannel[];
  readonly config: Pick<
    Config,
    "agents" | "tools" | "session" | "channels" | "gateway" | "model_list"
  >;
  /** Files that only their owner should be able to read. */
  readonly secretFiles: readonly string[];
  /** The home folder of the program. */
  readonly home?: string | undefined;
  readonly configFile?: string | undefined;
}

/** All checks of a configuration, except for the connections of its channels. */
export async function runChecks(options: ChecksOptions): Promise<readonly Check[]> {
  const { channels, config, secretFiles } = options;
  const { tools, agents } = config;
  const found = [
    ...channels.flatMap((channel) => [trustCheck(channel), identityCheck(channel)]),
    ...(await modelChecks(config)),
    ...(await goWorkspaceChecks(agents.defaults.workspace)),
    ...limitChecks(config),
    ...permissionChecks({
      tools,
      workspace: agents.defaults.workspace,
      isShared: isShared(config.session),
    }),
    rootCheck(),
    await commandCheck(config),
    ...(await modeChecks(secretFiles)),
    ...(await placeChecks(placesOf(options))),
  ];
  return found.filter((check) => check !== undefined);
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

/** Logs the checks that are not ok. */
export function logChecks(checks: readonly Check[], log: Log): void {
  for (const { name, result, message, remedy } of checks) {
    if (result === "ok") continue;
    log[result === "fail" ? "error" : "warn"](message, { about: name, try: remedy });
  }
}

/** One line: `warn  TLS of mqtt: the broker's … (try: …)`. */
export function checkLine({ name, result, message, remedy }: Check): string {
  const way = remedy === undefined ? "" : ` (try: ${remedy})`;
  return `${result.padEnd(4)}  ${escapeControl(`${name}: ${message}${way}`)}\n`;
}

/** Checks for limits that are probably not intended. */
function limitChecks(
  config: Pick<Config, "channels" | "gateway" | "model_list">,
): readonly Check[] {
  return [...accessChecks(config.channels), ...priceChecks(config)];
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

/** Models without prices, which a budget of cost does not count. */
function priceChecks({
  channels,
  gateway,
  model_list,
}: Pick<Config, "channels" | "gateway" | "model_list">): readonly Check[] {
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
