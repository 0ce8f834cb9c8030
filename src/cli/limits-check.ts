import type { Check } from "../base/contract.ts";
import type { Config, MqttChannel } from "../config/contract.ts";

/** Limits that are not what whoever wrote them wants. */
export function limitChecks(
  config: Pick<Config, "channels" | "gateway" | "model_list">,
): readonly Check[] {
  return [...accessChecks(config.channels), ...priceChecks(config)];
}

/** Channels that nobody can ask. */
function accessChecks(channels: readonly MqttChannel[]): readonly Check[] {
  return channels
    .filter(({ deny_from }) => deny_from.includes("*"))
    .map(({ name }) => ({
      name: `clients of ${name}`,
      result: "warn",
      message: "deny_from holds *, so nobody is answered",
      remedy: `name the clients in channel_list.${name}.deny_from, or disable the channel`,
    }));
}

/** A budget of money that not every model counts against. */
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
    message: "cost_per_day is set and this model has no prices: what it answers costs nothing",
    remedy: 'give its entry in model_list "prices": {"input": …, "output": …} for a million tokens',
  }));
}
