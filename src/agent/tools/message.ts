import * as v from "valibot";
import { matchesPattern } from "../../base/client-pattern.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { isTopicName } from "../../base/topic-filter.ts";
import { truncate } from "../../base/truncate.ts";
import { RefusedCall, ToolError } from "./contract.ts";
import type { CallContext, Tool } from "./contract.ts";
import { defineTool, oldField, textField } from "./define.ts";
import { HELD_BACK } from "./web/secret-leak.ts";
import type { HoldsSecret } from "./web/secret-leak.ts";

/** Takes messages for clients. */
export interface Outbox {
  /** Resolves when the message is stored. Rejects with a `Failure` if it is not taken. */
  send(message: OutgoingMessage): Promise<void>;
}

interface OutgoingMessage {
  readonly channel: string;
  readonly client: string;
  readonly text: string;
}

const MAX_CONTENT = 8_000;
/** Characters of an id that is shown. */
const MAX_SHOWN = 64;
/** Messages that one caller may have sent within a minute, and callers that are remembered. */
const MAX_PER_MINUTE = 10;
const MINUTE_MS = 60_000;
const MAX_CALLERS = 4096;

const input = v.object({
  content: v.pipe(
    textField("The message, in plain text."),
    v.maxLength(MAX_CONTENT, `a message has at most ${MAX_CONTENT} characters`),
  ),
  chat_id: v.optional(textField("The id of another client; left out: the one that you talk with.")),
  channel: v.optional(textField("The channel of that client; left out: the same.")),
  reply_to_message_id: oldField(v.string()),
});

/** The tool that sends a message before, or without, the answer: to the caller, or to another client that it may write to. */
export function createMessageTool(
  outbox: Outbox,
  holdsSecret: HoldsSecret,
  now: () => number = () => performance.now(),
): Tool {
  const takeTurn = createRate(now);
  return defineTool({
    name: "message",
    description:
      "Sends a message to the client at once, before your answer, or to another client. A device that is away gets it within a day.",
    input,
    async run({ content, chat_id, channel }, call) {
      const text = content.trim();
      if (text === "") throw new ToolError("a message needs a content");
      if (holdsSecret(content)) throw new RefusedCall(`nothing was sent: ${HELD_BACK}`);
      const { isOwn, ...to } = recipientOf({ client: chat_id, channel }, call);
      if (!takeTurn(call.owner)) throw new ToolError("too many messages, try again in a minute");
      try {
        await outbox.send({ ...to, text: isOwn ? text : `${shownId(call.client)}: ${text}` });
      } catch (thrown) {
        call.signal.throwIfAborted();
        if (thrown instanceof Failure) throw new ToolError(`nothing was sent: ${thrown.message}`);
        throw thrown;
      }
      // A recipient in a wrong field would be the caller.
      const sent = `sent to ${shownId(to.client)}`;
      return isOwn ? `[${sent}: do not repeat it in your answer]` : `[${sent}]`;
    },
  });
}

function recipientOf(
  wanted: { readonly client?: string | undefined; readonly channel?: string | undefined },
  { client: own, channel: here = "", permissions, isRemote }: CallContext,
) {
  const { client = own, channel = here } = wanted;
  const isOwn = client === own && channel === here;
  if (isOwn && !isRemote) throw new ToolError("who is at this machine gets the answer alone");
  const shown = shownId(client);
  const patterns = permissions.messageTo ?? [];
  if (!isOwn && !patterns.some((pattern) => matchesPattern(pattern, client))) {
    throw new RefusedCall(`the client may not write to ${shown}`);
  }
  if (!isTopicName(client) || client.includes("/")) {
    throw new ToolError(`no client can be called ${shown}`);
  }
  return { client, channel, isOwn };
}

/** An id for models, and for clients that see who has a message sent to them. */
function shownId(client: string): string {
  return escapeControl(truncate(client, MAX_SHOWN));
}

/** Whether the caller may send one more message now. */
function createRate(now: () => number): (owner: string) => boolean {
  const sent = new Map<string, number[]>();
  return (owner) => {
    const since = now() - MINUTE_MS;
    const latest = (sent.get(owner) ?? []).filter((at) => at > since);
    if (latest.length >= MAX_PER_MINUTE) return false;
    sent.delete(owner);
    sent.set(owner, [...latest, now()]);
    const [oldest] = sent.keys();
    if (oldest !== undefined && sent.size > MAX_CALLERS) sent.delete(oldest);
    return true;
  };
}
