import { Failure } from "../base/failure.ts";
import type { ChannelOptions } from "./contract.ts";
import type { Session } from "./session.ts";
import { infoTopic, statusTopic, type AgentAddress } from "./topics.ts";

const FAREWELL_MS = 2_000;

/** What others see of the gateway while it comes and goes. */
export interface Presence {
  readonly online: (session: Session) => Promise<void>;
  readonly offline: (session: Session) => Promise<void>;
  readonly stop: () => void;
}

/**
 * The retained `status` and `info`. `online` is said at every connect, and once more after the longest
 * time in which a broker can still publish the will of a predecessor that lost its power.
 */
export function createPresence(
  { channel, info, log }: ChannelOptions,
  address: AgentAddress,
): Presence {
  const { settings, name } = channel;
  const since = new Date().toISOString();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const say = (session: Session, word: "online" | "offline"): Promise<unknown> =>
    session.publish({ topic: statusTopic(address), payload: word, qos: 1, retain: true });
  const describe = (session: Session): Promise<unknown> => {
    const limits = {
      max_payload_bytes: settings.max_payload_bytes,
      max_message_bytes: settings.max_message_bytes,
    };
    const payload = JSON.stringify({ ...info, since, protocol: session.protocol, limits });
    return session.publish({ topic: infoTopic(address), payload, qos: 1, retain: true });
  };
  /** A broker that does not let us say so still lets us answer: a warning, no more. */
  const tolerate = async (work: Promise<unknown>, what: string): Promise<void> => {
    try {
      await work;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      log.warn(`${what} could not be published`, { channel: name, error: error.message });
    }
  };
  const stop = (): void => clearTimeout(timer);
  return {
    stop,
    async online(session) {
      await tolerate(say(session, "online"), "status");
      await tolerate(describe(session), "info");
      stop();
      timer = setTimeout(
        () => void say(session, "online").catch(() => {}),
        settings.keep_alive * 1000 * 2,
      );
      timer.unref();
    },
    async offline(session) {
      const late = Promise.withResolvers<void>();
      const patience = setTimeout(late.resolve, FAREWELL_MS);
      const said = tolerate(say(session, "offline"), "status").catch(() => {});
      await Promise.race([said, late.promise]);
      clearTimeout(patience);
    },
  };
}
