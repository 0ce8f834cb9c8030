import { settlesWithin } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { decodeInfo, type GatewayInfo } from "../protocol/info.ts";
import { agentAddressOf, infoTopic, statusTopic } from "../protocol/topics.ts";
import { utf8Of } from "../protocol/wire.ts";
import { withSession, type BrokerConnection } from "../requester/topic-session.ts";

/** What the broker keeps of the gateways of an agent id. */
export interface KeptPresence {
  readonly isOnline: boolean;
  /** Undefined if there is none, or if it may not be read. */
  readonly info: GatewayInfo | undefined;
}

/** Until both are there; a topic without a message, or one that may not be read, takes so long. */
const READ_MS = 1_000;

/** Reads `status` and `info` over a connection of its own. Throws a `Failure` and the signal's reason. */
export async function readPresence(target: BrokerConnection): Promise<KeptPresence> {
  const address = agentAddressOf(target.settings);
  const [statusName, infoName] = [statusTopic(address), infoTopic(address)];
  const both = Promise.withResolvers<void>();
  let status: string | undefined;
  let info: GatewayInfo | undefined;
  const take = ({ topic, payload }: { topic: string; payload: Uint8Array }): void => {
    if (topic === statusName) status = utf8Of(payload);
    if (topic === infoName) info = decodeInfo(payload);
    if (status !== undefined && info !== undefined) both.resolve();
  };
  await withSession(target, take, async (session, lost) => {
    for (const name of [statusName, infoName]) {
      await session.subscribe([name], 0, { retained: true }).catch((error: unknown) => {
        if (!(error instanceof Failure)) throw error;
      });
    }
    await settlesWithin(Promise.race([both.promise, lost]), READ_MS, target.signal);
  });
  return { isOnline: status === "online", info };
}
