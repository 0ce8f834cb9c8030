import { TimeoutError, withTimeout } from "../../base/async.ts";
import type { Diagnosis } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import type { DeviceCheckOptions } from "./devices.ts";

/** Milliseconds of one check; all run at the same time. */
const PART_MS = 4_000;

/** Whether what is configured besides requests and answers can work at a broker that was reached. */
export async function partChecks(options: DeviceCheckOptions): Promise<readonly Diagnosis[]> {
  const { config, channel, connectTimeoutMs, log, signal: parent } = options;
  const { name, settings } = channel;
  const watched = config.tools.watch.filter((watch) => watch.channel === name);
  const topics = [...new Set(watched.map(({ topic }) => topic))];
  const within = async (
    code: string,
    check: (signal: AbortSignal) => Promise<readonly Diagnosis[]>,
  ): Promise<readonly Diagnosis[]> => {
    try {
      return await withTimeout(PART_MS, parent, check);
    } catch (thrown) {
      parent.throwIfAborted();
      const message =
        thrown instanceof TimeoutError
          ? `the check was not done within ${PART_MS / 1000} s`
          : asFailure(thrown).message;
      return [{ code, name, result: "warn", message }];
    }
  };
  const targetOf = (signal: AbortSignal) => ({ name, settings, connectTimeoutMs, log, signal });
  const found = await Promise.all([
    config.tools.profiles.length > 0
      ? within("broker.devices", async (signal) => {
          const { deviceChecks } = await import("./devices.ts");
          return deviceChecks({ ...options, signal });
        })
      : [],
    topics.length > 0
      ? within("broker.watch", async (signal) =>
          (await load()).watchChecks(targetOf(signal), topics),
        )
      : [],
    settings.a2a.enabled
      ? within("broker.a2a", async (signal) => [await (await load()).a2aCheck(targetOf(signal))])
      : [],
    settings.mcp.enabled
      ? within("broker.mcp", async (signal) => [await (await load()).mcpCheck(targetOf(signal))])
      : [],
  ]);
  return found.flat();
}

const load = () => import("../../mqtt/checks/parts.ts");
