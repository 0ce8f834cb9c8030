import { accessList, ACL_BROKERS, discoveryAccess } from "../../mqtt/checks/acl.ts";
import { loadChannel } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";

/** The gateway's user at the broker, if the configuration names none. */
const GATEWAY = "picoclaw";

/** `picoclaw acl mosquitto|emqx|hivemq|vernemq`: prints an access list for the broker. */
export async function run(context: Context): Promise<number> {
  const { host, words, flags } = context;
  const { settings } = await loadChannel(context, await createCommandLog(context));
  const broker = ACL_BROKERS.find((name) => name === words[0]) ?? "mosquitto";
  const list = accessList(broker, {
    prefix: settings.topic_prefix,
    agent: settings.agent_id,
    gateway: settings.username?.reveal() || GATEWAY,
    by: flags.choice("by") ?? "user",
    ...(settings.homeassistant.enabled && { homeAssistant: discoveryAccess(settings) }),
  });
  await host.stdout.write(list);
  return 0;
}
