import { createDirectReplies } from "./direct-replies.ts";
import type { DirectReplies, DirectRepliesOptions } from "./direct-replies.ts";

/**
 * The direct replies of each channel, within bounds of their own: one whose broker is away holds up no
 * other.
 */
export function createChannelReplies(
  options: Omit<DirectRepliesOptions, "channel">,
  channels: Iterable<string>,
): DirectReplies {
  const byChannel = new Map<string, DirectReplies>();
  let isClosed = false;
  const of = ({ channel }: { readonly channel: string }): DirectReplies => {
    const known = byChannel.get(channel);
    if (known !== undefined) return known;
    const replies = createDirectReplies({ ...options, channel });
    byChannel.set(channel, replies);
    if (isClosed) replies.close();
    return replies;
  };
  for (const channel of channels) of({ channel });
  return {
    send: (reply) => of(reply.request).send(reply),
    sendRejection: (reply) => of(reply.request).sendRejection(reply),
    keep: (request, claim) => of(request).keep(request, claim),
    seen: (request) => of(request).seen(request),
    caughtUp: (request) => of(request).caughtUp(request),
    resume() {
      for (const replies of byChannel.values()) replies.resume();
    },
    close() {
      isClosed = true;
      for (const replies of byChannel.values()) replies.close();
    },
  };
}
