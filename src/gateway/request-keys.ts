import { createHash } from "node:crypto";
import type { Request } from "./contract.ts";

/** Longer names are replaced by their hash, so that a table's rows bound its bytes. */
const LONGEST = 256;

/** Whose requests are answered in order: one client of one channel. */
export function laneOf(request: Pick<Request, "channel" | "client">): string {
  return bounded(joined(request.channel, request.client));
}

/** The conversation of all clients, where they share one; no lane has this name. */
export const SHARED_CONVERSATION = "shared";

/** What the lanes of those who ask at this machine begin with; no channel's lane does. */
const LOCAL = "cli:";

/** Whose requests are answered in order: one session of who asks at this machine. */
export function localLaneOf(session: string): string {
  return bounded(LOCAL + session);
}

/** Whether the lane is that of somebody at this machine. */
export function isLocal(lane: string): boolean {
  return lane.startsWith(LOCAL);
}

/** The name of the conversation that a request belongs to. */
export function conversationOf(
  request: Pick<Request, "channel" | "client" | "conversation">,
): string {
  return request.conversation ?? laneOf(request);
}

/** The client and its channel that a lane is named after; undefined where the name does not say. */
export function clientOf(lane: string): Pick<Request, "channel" | "client"> | undefined {
  if (isLocal(lane)) return { channel: "cli", client: lane.slice(LOCAL.length) };
  const digits = /^(\d{1,3}):/.exec(lane)?.[1];
  if (digits === undefined) return undefined;
  const names = lane.slice(digits.length + 1);
  return { channel: names.slice(0, Number(digits)), client: names.slice(Number(digits)) };
}

/**
 * The name under which a request is known again: by its key, or by its fingerprint where it has none.
 * It holds the conversation too, so that nobody reads another's answer by guessing its key.
 */
export function requestNameOf(request: Request): string {
  if (request.name !== undefined) return request.name;
  const [kind, name] =
    request.key === undefined ? ["fingerprint", request.fingerprint] : ["key", request.key];
  return bounded(joined(laneOf(request), joined(kind, name)));
}

/** With the length in front no two pairs of texts give the same name. */
function joined(first: string, second: string): string {
  return `${first.length}:${first}${second}`;
}

function bounded(name: string): string {
  if (name.length <= LONGEST) return name;
  return `#${createHash("sha256").update(Buffer.from(name, "utf16le")).digest("base64")}`;
}

/** Whether an earlier request of the same name is this one. */
export function mayRepeat(request: Pick<Request, "key" | "name" | "redelivered">): boolean {
  return request.key !== undefined || request.name !== undefined || request.redelivered;
}

/** Characters of an address and a client that take one place where the number of requests is bounded. */
const UNITS_OF_WEIGHT = 512;

/** How many places the way back to an asker takes: both can be as long as a whole topic. */
export function queueWeight({ address, client }: Pick<Request, "address" | "client">): number {
  return 1 + Math.floor((address.length + client.length) / UNITS_OF_WEIGHT);
}
