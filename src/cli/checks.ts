import { rightsChecks } from "../agent/rights-check.ts";
import { commandCheck } from "../agent/tools/exec/cage/check.ts";
import type { Check } from "../base/check.ts";
import type { Log } from "../base/log.ts";
import { visible } from "../base/visible.ts";
import type { Config, MqttChannel } from "../config/contract.ts";
import { modeChecks } from "../config/modes.ts";
import { identityCheck, trustCheck } from "../mqtt/trust.ts";
import { isShared } from "./conversations.ts";
import { limitChecks } from "./limits-check.ts";

export interface CheckUp {
  /** As they are dialled: a built-in broker's with its port. */
  readonly channels: readonly MqttChannel[];
  readonly config: Pick<
    Config,
    "agents" | "tools" | "session" | "channels" | "gateway" | "model_list"
  >;
  /** Files that nobody else should read. */
  readonly secretFiles: readonly string[];
}

/** Everything that is looked at beside whether the channels can be served; each look is a function of its own. */
export async function checkUp({
  channels,
  config,
  secretFiles,
}: CheckUp): Promise<readonly Check[]> {
  const { tools, agents } = config;
  const found = [
    ...channels.flatMap((channel) => [trustCheck(channel), identityCheck(channel)]),
    ...limitChecks(config),
    ...rightsChecks({
      tools,
      workspace: agents.defaults.workspace,
      isShared: isShared(config.session),
    }),
    await commandCheck(config),
    ...(await modeChecks(secretFiles)),
  ];
  return found.filter((check) => check !== undefined);
}

/** What a start says of them: nothing of what is well. */
export function logChecks(checks: readonly Check[], log: Log): void {
  for (const { name, result, message, remedy } of checks) {
    if (result === "ok") continue;
    log[result === "fail" ? "error" : "warn"](message, { about: name, try: remedy });
  }
}

/** One line: `warn  TLS of mqtt: the broker's … (try: …)`. */
export function checkLine({ name, result, message, remedy }: Check): string {
  const way = remedy === undefined ? "" : ` (try: ${remedy})`;
  return `${result.padEnd(4)}  ${visible(`${name}: ${message}${way}`)}\n`;
}
