import { accessList, ACL_BROKERS } from "../../mqtt/acl/acl.ts";
import { loadAgent } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { toolTopicsOf } from "../tool-topics.ts";

/** The gateway's user at the broker, if the configuration names none. */
const GATEWAY = "picoclaw";

/** `picoclaw acl mosquitto|emqx|hivemq|vernemq`: prints an access list for the broker. */
export async function run(context: Context): Promise<number> {
  const { host, words, flags } = context;
  const { channel, config } = await loadAgent(context, await createCommandLog(context));
  const { settings } = channel;
  const broker = ACL_BROKERS.find((name) => name === words[0]) ?? "mosquitto";
  const list = accessList(broker, {
    settings,
    gateway: settings.username?.reveal() || GATEWAY,
    by: flags.choice("by") ?? "user",
    tools: toolTopicsOf(config, channel),
  });
  await host.stdout.write(list);
  return 0;
}
