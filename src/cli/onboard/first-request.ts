import { abortable } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { SILENT } from "../../base/log.ts";
import type { Config, LoadedConfig, MqttChannel } from "../../config/contract.ts";
import { readPresence } from "../../mqtt/checks/presence.ts";
import { isDeviceClient } from "../../mqtt/protocol/topics.ts";
import { askChannel, DEFAULT_QUESTION, type Outcome } from "../ask.ts";
import type { Context } from "../context.ts";
import { openTemporaryRuntime } from "../runtime/runtime.ts";
import { isBuiltIn } from "../state/state.ts";
import { modelName } from "../terminal/spinner.ts";

/** The device in the lines to copy. */
export const CLIENT = "device1";
/** A turn that still runs after an interruption. */
const DRAIN_MS = 1_000;

export interface FirstRequest {
  readonly outcome: Outcome;
  /** Whether a gateway ran already, which has not read new settings. */
  readonly isRunning: boolean;
}

/** The client that sends the request: that of the broker's user, because an access list lets a user be no other. */
export function askingClient({ settings }: MqttChannel): string {
  const user = settings.username?.reveal() ?? "";
  return isDeviceClient(user) ? user : CLIENT;
}

/**
 * Asks the agent of a channel through its broker: the gateway that serves it, otherwise one in this process, which
 * writes nothing to disk. Throws a `Failure` if broker or gateway cannot be reached.
 */
export async function askFirst(
  context: Context,
  loaded: LoadedConfig,
  channel: MqttChannel,
): Promise<FirstRequest> {
  if (await isServed(context, channel)) {
    return { outcome: await exchange(context, loaded.config, channel), isRunning: true };
  }
  const own = { ...channel, settings: { ...channel.settings, client_id: "" } };
  const { runtime, dialled } = await openTemporaryRuntime(context, loaded, {
    channel: own,
    connectTimeoutMs: context.flags.duration("connect-timeout"),
    log: SILENT,
  });
  try {
    const over = runtime.over.then((failure) => {
      throw failure;
    });
    const subscribed = Promise.race([runtime.subscribed(dialled.name), over]);
    await abortable(subscribed, context.signal);
    return { outcome: await exchange(context, loaded.config, dialled), isRunning: false };
  } finally {
    await runtime.stop(DRAIN_MS);
  }
}

/** Whether a gateway is online. A built-in broker that nobody reaches is not running. */
async function isServed({ flags, signal }: Context, channel: MqttChannel): Promise<boolean> {
  const connectTimeoutMs = flags.duration("connect-timeout");
  const { settings } = channel;
  try {
    const target = { settings, connectTimeoutMs, log: SILENT, signal };
    return (await readPresence(target)).isOnline;
  } catch (error) {
    signal.throwIfAborted();
    if (isBuiltIn(channel.settings) && error instanceof Failure) return false;
    throw error;
  }
}

function exchange(context: Context, config: Config, channel: MqttChannel): Promise<Outcome> {
  const connectTimeoutMs = context.flags.duration("connect-timeout");
  const question = {
    client: askingClient(channel),
    text: DEFAULT_QUESTION,
    id: crypto.randomUUID(),
  };
  const asked = {
    channel,
    connectTimeoutMs,
    question,
    form: "text",
    model: modelName(config),
  } as const;
  return askChannel(asked, context);
}
