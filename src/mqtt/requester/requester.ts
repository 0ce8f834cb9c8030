import { asFailure, Failure } from "../../base/failure.ts";
import type { Requester, RequesterOptions } from "../contract.ts";
import { openLink } from "./link.ts";
import { request, publishRequest } from "./request.ts";
import { watch } from "./watch.ts";

/** Connects to the channel's broker as a stranger; throws `unreachable`, `refused` or `config`. */
export async function openRequester(options: RequesterOptions): Promise<Requester> {
  const line = openLink(options);
  const session = await firstSession(line, options);
  return {
    protocol: session.protocol,
    request: (question) => request(line, question),
    publishRequest: (question) => publishRequest(line, question),
    watch: (what) => watch(line, what),
    close: () => line.connection.close().catch(() => {}),
  };
}

async function firstSession(
  { connection, failed }: ReturnType<typeof openLink>,
  options: RequesterOptions,
) {
  const { broker } = options.channel.settings;
  try {
    const refused = failed.then((failure) => Promise.reject(failure));
    return await Promise.race([connection.ready(options.signal), refused]);
  } catch (error) {
    await connection.close().catch(() => {});
    options.signal.throwIfAborted();
    const { code, message, why, remedy, cause } = asFailure(error);
    const known = code === "refused" || code === "config";
    throw new Failure(known ? code : "unreachable", `no connection to ${broker}: ${message}`, {
      ...(why !== undefined && { why }),
      remedy: remedy ?? "check that the broker runs there, or name another with --broker",
      cause,
    });
  }
}
