import { Failure, messageOf } from "../../base/failure.ts";
import { randomClientId } from "../client/connection.ts";
import type { WatchOptions } from "../contract.ts";
import { probeProperties } from "../protocol/message.ts";
import {
  isDeviceClient,
  type PublishTopic,
  requestTopic,
  responseTopic,
} from "../protocol/topics.ts";
import { accessUser, OTHER_USER } from "./access.ts";
import type { RequesterLink } from "./link.ts";

type Direction = "request" | "response";

/** Which directions a watch has heard. */
export interface Heard {
  note(direction: Direction): void;
  within(direction: Direction, milliseconds: number, signal: AbortSignal): Promise<boolean>;
}

/** Milliseconds for an echo. */
const ECHO_MS = 2_500;

/**
 * Warns of each direction of a watch that is silent because an access list bars it: brokers accept such a
 * subscription. Proves it with an empty message, which gateways ignore: of the watched client, or of our own. Does not
 * reject.
 */
export async function warnIfBarred(
  link: RequesterLink,
  options: WatchOptions,
  heard: Heard,
): Promise<void> {
  const { signal } = options;
  try {
    const directions = (["request", "response"] as const).filter((one) => options[`${one}s`]);
    await Promise.all(directions.map((direction) => probe(link, direction, options, heard)));
  } catch (error) {
    if (!signal.aborted)
      link.options.log.debug("the subscription was not probed", { why: messageOf(error) });
  }
}

async function probe(
  link: RequesterLink,
  direction: Direction,
  { clients, signal }: WatchOptions,
  heard: Heard,
): Promise<void> {
  const session = link.connection.session();
  const topics = probeTopics(link, direction, clients);
  if (session === undefined || (await heard.within(direction, 0, signal))) return;
  const taken = await Promise.all(topics.map((topic) => isTaken(link, topic, signal)));
  if (!taken.includes(true) || (await heard.within(direction, ECHO_MS, signal))) return;
  // A loss in between explains the silence.
  if (link.connection.session() !== session) return;
  const { log, channel } = link.options;
  const { settings } = channel;
  const { prefix, agent } = link.address;
  const filter = `${prefix}/${agent}/${clients[0] ?? "+"}/${direction}`;
  const user = accessUser(settings);
  const isCertain = session.protocol === 5 && session.maximumQos > 0;
  const message = isCertain
    ? `the broker accepts the subscription to ${filter} and delivers nothing: ${user} may not read it`
    : `a test message did not come back through ${filter}: ${user} may not read it, or may not publish there, which is no fault`;
  log.warn(message, {
    user: settings.username?.reveal(),
    line: `topic read ${filter}`,
    try: `add that line for the user to the broker's access list, ${OTHER_USER}`,
  });
}

/** A device could misread an empty answer, so none is sent to one. */
function probeTopics(
  link: RequesterLink,
  direction: Direction,
  clients: readonly string[],
): readonly PublishTopic[] {
  const [client] = clients;
  const topicOf = direction === "request" ? requestTopic : responseTopic;
  if (client !== undefined) return direction === "request" ? [topicOf(link.address, client)] : [];
  const own = [link.connection.clientId, link.options.channel.settings.username?.reveal() ?? ""];
  return own.filter(isDeviceClient).map((name) => topicOf(link.address, name));
}

/** Whether the broker takes an empty message. Over another connection, because some end it for a forbidden one. */
async function isTaken(
  { options: { channel, ...options } }: RequesterLink,
  topic: PublishTopic,
  signal: AbortSignal,
): Promise<boolean> {
  const { withSession } = await import("./topic-session.ts");
  const name = randomClientId("picoclaw-probe");
  const target = { ...options, settings: channel.settings, signal, session: { clientId: name } };
  try {
    await withSession(target, undefined, (session) => {
      const mark = probeProperties(name, session.protocol);
      return session.publish({ topic, payload: "", qos: 1, ...mark });
    });
    return true;
  } catch (error) {
    if (error instanceof Failure) return false;
    throw error;
  }
}
