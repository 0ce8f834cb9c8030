import type { Config } from "../../config/contract.ts";
import { secretsIn } from "../../config/secrets.ts";
import { mayClientsUse } from "../access/permissions.ts";
import type { Tool } from "./contract.ts";
import type { Jobs } from "./cron.ts";
import type { HomeDevices } from "./home/contract.ts";
import type { Outbox } from "./message.ts";

interface ClientToolsOptions {
  readonly config: Pick<Config, "agents" | "model_list" | "tools" | "channels">;
  readonly outbox?: Outbox | undefined;
  readonly jobs?: Jobs | undefined;
}

/** The tools for clients alone. The code of each is loaded if some client may use it. */
export async function configuredClientTools({
  config,
  outbox,
  jobs,
}: ClientToolsOptions): Promise<readonly Tool[]> {
  const { tools } = config;
  const made: Tool[] = [];
  if (outbox !== undefined && mayClientsUse(["message"], tools)) {
    const [{ createMessageTool }, { createLeakWatch }] = await Promise.all([
      import("./message.ts"),
      import("./web/secret-leak.ts"),
    ]);
    made.push(createMessageTool(outbox, createLeakWatch(secretsIn(config))));
  }
  if (jobs !== undefined && mayClientsUse(["cron"], tools)) {
    const { createCronTool } = await import("./cron.ts");
    made.push(createCronTool(jobs, tools.cron));
  }
  return made;
}

interface HomeToolsOptions {
  readonly config: Pick<Config, "tools">;
  readonly homeDevices?: HomeDevices;
}

/** The tools for the devices on the broker. Their code is loaded if some client may use them. */
export async function configuredHomeTools({
  config,
  homeDevices,
}: HomeToolsOptions): Promise<readonly Tool[]> {
  if (homeDevices === undefined || !mayClientsUse(["devices", "set_device"], config.tools))
    return [];
  const [{ createDevicesTool }, { createSetDeviceTool }] = await Promise.all([
    import("./home/devices.ts"),
    import("./home/set-device.ts"),
  ]);
  return [createDevicesTool(homeDevices), createSetDeviceTool(homeDevices)];
}
