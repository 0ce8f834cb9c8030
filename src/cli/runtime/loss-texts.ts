import type { Channel } from "../../mqtt/contract.ts";

type Losses = Pick<Channel, "name" | "sessionsLost" | "messagesDropped">;

/** What the broker of a channel has lost since this process started, a line each; none if that is nothing. */
export function lossTexts({ name, sessionsLost, messagesDropped }: Losses): readonly string[] {
  const [sessions, messages] = [sessionsLost(), messagesDropped()];
  const times = sessions === 1 ? "" : ` ${sessions} times`;
  const lost = `${name}: the broker lost our session${times}, and the requests that waited in it`;
  const dropped = `${name}: the broker dropped ${messages} messages from full queues, perhaps requests to us`;
  return [...(sessions > 0 ? [lost] : []), ...(messages > 0 ? [dropped] : [])];
}
