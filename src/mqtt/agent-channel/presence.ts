import { Failure } from "../../base/failure.ts";
import type { Session } from "../client/session.ts";
import type { ChannelOptions } from "../contract.ts";
import { infoTopic, statusTopic, type AgentAddress } from "../protocol/topics.ts";

/** The retained topics by which others see whether the gateway runs. */
export interface Presence {
  readonly online: (session: Session) => Promise<void>;
  readonly offline: (session: Session) => Promise<void>;
  readonly stop: () => void;
}

/**
 * Publishes `online` and `info` at every connect, and `online` once more later: until then a broker can
 * still publish the will of a predecessor that lost its power.
 */
export function createPresence(
  { channel, info, log }: ChannelOptions,
  address: AgentAddress,
  sessionsLost: () => number,
): Presence {
  const { settings, name } = channel;
  const since = new Date().toISOString();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const publishStatus = (session: Session, status: "online" | "offline"): Promise<unknown> =>
    session.publish({ topic: statusTopic(address), payload: status, qos: 1, retain: true });
  const publishInfo = (session: Session): Promise<unknown> => {
    const limits = {
      max_payload_bytes: settings.max_payload_bytes,
      max_message_bytes: settings.max_message_bytes,
    };
    const facts = { ...info, since, protocol: session.protocol, limits };
    // At QoS 0 the broker keeps no session.
    const lost = settings.qos > 0 ? { sessions_lost: sessionsLost() } : {};
    const payload = JSON.stringify({ ...facts, ...lost });
    return session.publish({ topic: infoTopic(address), payload, qos: 1, retain: true });
  };
  const refused = new Set<string>();
  /**
   * If the broker refuses these topics, we can still answer: that is only a warning. They are not published
   * again, because some brokers end the connection as well.
   */
  const warnIfRefused = async (publish: () => Promise<unknown>, what: string): Promise<void> => {
    if (refused.has(what)) return;
    try {
      await publish();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      refused.add(what);
      log.warn(`${what} could not be published`, { channel: name, error: error.message });
    }
  };
  const stop = (): void => clearTimeout(timer);
  return {
    stop,
    async online(session) {
      const publishOnline = () => publishStatus(session, "online");
      await warnIfRefused(publishOnline, "status");
      await warnIfRefused(() => publishInfo(session), "info");
      stop();
      timer = setTimeout(
        () => void warnIfRefused(publishOnline, "status").catch(() => {}),
        settings.keep_alive * 1000 * 2,
      );
      timer.unref();
    },
    offline: (session) =>
      warnIfRefused(() => publishStatus(session, "offline"), "status").catch(() => {}),
  };
}
