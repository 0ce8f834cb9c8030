import type { Log } from "../../base/log.ts";
import type { MqttChannel } from "../../config/contract.ts";
import { isBuiltIn } from "../state/state.ts";
import type { Runtime } from "./runtime.ts";

export interface StartFacts {
  /** The configuration file. */
  readonly config: string;
  /** The host that was asked to listen on, and the URLs on which it listens. */
  readonly host: string;
  readonly addresses: readonly string[];
  /** What other programs find at the page's URL, as far as it is enabled. */
  readonly gateway: Readonly<Record<"mcp" | "ollama", { readonly enabled: boolean }>>;
  readonly log: Log;
}

/**
 * Logs what devices need of each channel, as soon as that is subscribed, and `gateway started` when all of
 * them are. Returns at once.
 */
export function logStart(
  { dialled, subscribed, model }: Pick<Runtime, "dialled" | "subscribed" | "model">,
  { config, host, addresses, gateway, log }: StartFacts,
): void {
  const health = addresses.join(" ");
  const page = pageUrl(host, addresses);
  const serve = async (channel: MqttChannel): Promise<void> => {
    await subscribed(channel.name);
    log.info("channel is served", channelFacts(channel));
  };
  let isStarted = false;
  const started = (): void => {
    isStarted = true;
    const current = model();
    const name = current && `${current.name} (${current.provider}, ${current.model})`;
    log.info("gateway started", {
      config,
      model: name ?? "none, offline agent",
      page,
      ...(gateway.mcp.enabled && { mcp: `${page}mcp` }),
      ...(gateway.ollama.enabled && { ollama: page }),
      health,
    });
  };
  // A channel that failed for good has said so by itself.
  Promise.all(dialled.map(serve)).then(started, () => {});
  setImmediate(() => {
    if (!isStarted) log.info("gateway waits until its channels are subscribed", { page, health });
  });
}

/** The URL for a browser. */
function pageUrl(host: string, [first = ""]: readonly string[]): string {
  return host === "localhost" ? `http://localhost:${new URL(first).port}/` : `${first}/`;
}

/** What is put into a device. */
function channelFacts({ name, settings }: MqttChannel) {
  const { agent_id: agent, topic_prefix: prefix, broker } = settings;
  const root = `${prefix}/${agent}/<client>`;
  return {
    channel: name,
    agent,
    broker: isBuiltIn(settings) ? broker.join().replace("embedded:", "mqtt:") : broker.join(" "),
    request: `${root}/request`,
    response: `${root}/response`,
  };
}
