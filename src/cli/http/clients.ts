import { haveCommandsNetwork } from "../../agent/access/permissions.ts";
import type { Log } from "../../base/log.ts";
import type { LoadedConfig } from "../../config/contract.ts";
import { createClientAccess, type ClientAccessOptions } from "../../gateway/http/client-access.ts";
import type { Runtime } from "../runtime/runtime.ts";

/** The gateway that clients ask over HTTP. */
export interface HttpSubject {
  readonly runtime: Pick<Runtime, "clients" | "direct" | "config">;
  readonly loaded: LoadedConfig;
  readonly log: Log;
}

/** Who may ask: the clients of `gateway.tokens`, or, if it is empty, this machine as the client `local`. */
export function accessFor(
  local: string,
  { loaded: { config }, runtime }: HttpSubject,
): ReturnType<typeof createClientAccess> {
  const all = Object.entries(config.gateway.tokens);
  const tokens: ClientAccessOptions["tokens"] = new Map(
    all.map(([client, token]) => [client, token.reveal()]),
  );
  const isOpenToCommands = (): boolean => haveCommandsNetwork(runtime.config().tools);
  return createClientAccess({ tokens, local, isOpenToCommands, now: () => performance.now() });
}
