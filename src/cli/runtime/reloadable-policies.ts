import type { Limits } from "../../base/contract.ts";
import { Secret } from "../../base/secret.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import type { ChannelPolicy } from "../../gateway/channel-policy.ts";
import { answerForm } from "../../mqtt/agent-channel/receive.ts";

/** The access lists and limits that a running gateway reads at each request, and how a new configuration changes them. */
export interface ReloadablePolicies {
  /** By the name of the channel. */
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  /** Of the whole gateway. */
  readonly limits: Limits;
  /**
   * Puts the access lists and limits of a configuration into effect. Returns the keys of its other changes since
   * the start of the gateway: they need a restart.
   */
  readonly applyConfig: (config: Config) => readonly string[];
}

export interface ReloadablePoliciesOptions {
  readonly config: Config;
  readonly channels: readonly MqttChannel[];
  /** What a reload has put into effect before everything was opened anew. */
  readonly reloaded?: { readonly config: Config } | undefined;
  /** Called with each configuration that is applied. */
  readonly onReload?: (config: Config) => void;
}

function policyOf({ allow_from, deny_from, admin_from, settings }: MqttChannel): ChannelPolicy {
  return {
    allowFrom: allow_from,
    denyFrom: deny_from,
    adminFrom: admin_from,
    intervalMs: settings.streaming.interval_ms,
    progressMs: settings.streaming.progress_secs * 1000,
    maxChars: (client) => answerForm(settings, client).max_chars,
    limits: settings.limits,
    totalLimits: { ...settings.limits.total },
  };
}

export function createReloadablePolicies({
  config: started,
  channels,
  reloaded,
  onReload,
}: ReloadablePoliciesOptions): ReloadablePolicies {
  const policies = new Map(channels.map((channel) => [channel.name, policyOf(channel)]));
  const limits = { ...started.gateway.limits };
  const applyConfig: ReloadablePolicies["applyConfig"] = (config) => {
    for (const channel of config.channels) {
      const policy = policies.get(channel.name);
      if (policy === undefined) continue;
      const { totalLimits, progressMs: _, ...others } = policyOf(channel);
      Object.assign(policy, others);
      // The accounts of the channel and of the gateway hold these objects.
      Object.assign(policy.totalLimits, totalLimits);
    }
    Object.assign(limits, config.gateway.limits);
    onReload?.(config);
    return keysThatNeedRestart(started, config);
  };
  if (reloaded !== undefined) applyConfig(reloaded.config);
  return { policies, limits, applyConfig };
}

const DEFAULTS = ["workspace", "max_parallel_turns", "turn_timeout_secs"] as const;

function keysThatNeedRestart(from: Config, to: Config): readonly string[] {
  const [{ defaults: before }, { defaults: after }] = [from.agents, to.agents];
  return [
    ...DEFAULTS.flatMap((key) => (same(before[key], after[key]) ? [] : `agents.defaults.${key}`)),
    ...(same(from.session, to.session) ? [] : ["session"]),
    ...(same(from.heartbeat, to.heartbeat) ? [] : ["heartbeat"]),
    ...changedKeys(gatewayOf(from), gatewayOf(to)).map((key) => `gateway.${key}`),
    ...changedChannels(from.channels, to.channels),
  ];
}

/** `queued` is the size of a queue that stands already. */
function gatewayOf({ gateway }: Config): object {
  const { log_level: _, limits, ...rest } = gateway;
  return { ...rest, "limits.queued": limits.queued };
}

function changedChannels(from: readonly MqttChannel[], to: readonly MqttChannel[]): string[] {
  const names = new Set([...from, ...to].map(({ name }) => name));
  return [...names].flatMap((name) => {
    const [before, after] = [from, to].map((all) => all.find((channel) => channel.name === name));
    const at = `channel_list.${name}`;
    if (before === undefined || after === undefined) return [at];
    const keys = changedKeys(settingsOf(before), settingsOf(after));
    return keys.map((key) => `${at}.settings.${key}`);
  });
}

function settingsOf({ settings }: MqttChannel): object {
  const { limits: _, streaming, ...rest } = settings;
  const { interval_ms: __, ...others } = streaming;
  return { ...rest, streaming: others };
}

function changedKeys(from: object, to: object): string[] {
  const [before, after] = [new Map(Object.entries(from)), new Map(Object.entries(to))];
  const keys = new Set([...before.keys(), ...after.keys()]);
  return [...keys].filter((key) => !same(before.get(key), after.get(key)));
}

function same(left: unknown, right: unknown): boolean {
  if (left instanceof Secret || right instanceof Secret) {
    return left instanceof Secret && right instanceof Secret && left.reveal() === right.reveal();
  }
  const areObjects = [left, right].every((one) => typeof one === "object" && one !== null);
  return areObjects ? changedKeys(Object(left), Object(right)).length === 0 : left === right;
}
