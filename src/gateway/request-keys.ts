import { createHash } from "node:crypto";
import { PUSH_ADDRESS } from "../base/request-extras.ts";
import type { Request } from "./contract.ts";

/** Longer names are replaced by their hash, so that the number of rows bounds the bytes of a table. */
const LONGEST = 256;

/** The lane of a request: one client of one channel. Requests of a lane are answered in order. */
export function laneOf(request: Pick<Request, "channel" | "client">): string {
  return bounded(joined(request.channel, request.client));
}

/** The conversation that all clients share, if they do; no lane has this name. */
export const SHARED_CONVERSATION = "shared";

/** The prefix of lanes of users at this machine; no channel's lane has it. */
const LOCAL = "cli:";

/** The lane of one session of a user at this machine. */
export function localLaneOf(session: string): string {
  return bounded(LOCAL + session);
}

/** Whether the lane belongs to a user at this machine. */
export function isLocal(lane: string): boolean {
  return lane.startsWith(LOCAL);
}

/** The name of the request's conversation. */
export function conversationOf(
  request: Pick<Request, "channel" | "client" | "conversation">,
): string {
  return request.conversation ?? laneOf(request);
}

/** The client and channel of a lane; undefined when the lane is a hash. */
export function clientOf(lane: string): Pick<Request, "channel" | "client"> | undefined {
  if (isLocal(lane)) return { channel: "cli", client: lane.slice(LOCAL.length) };
  const digits = /^(\d{1,3}):/.exec(lane)?.[1];
  if (digits === undefined) return undefined;
  const names = lane.slice(digits.length + 1);
  return { channel: names.slice(0, Number(digits)), client: names.slice(Number(digits)) };
}

/**
 * The name that identifies a request: its key, or its fingerprint when it has no key. The name contains
 * the lane, so that a client cannot read another client's answer by guessing a key.
 */
export function requestNameOf(
  request: Pick<Request, "channel" | "client" | "key" | "name" | "fingerprint">,
): string {
  if (request.name !== undefined) return request.name;
  const [kind, name] =
    request.key === undefined ? ["fingerprint", request.fingerprint] : ["key", request.key];
  return bounded(joined(laneOf(request), joined(kind, name)));
}

/** The leading length makes the name unique for each pair of texts. */
function joined(first: string, second: string): string {
  return `${first.length}:${first}${second}`;
}

function bounded(name: string): string {
  if (name.length <= LONGEST) return name;
  return `#${createHash("sha256").update(Buffer.from(name, "utf16le")).digest("base64")}`;
}

/** Whether the program began the request itself. */
export function isPush({ address }: Pick<Request, "address">): boolean {
  return address === PUSH_ADDRESS;
}

/** Whether an earlier request with the same name is the same request. */
export function mayRepeat(request: Pick<Request, "key" | "name" | "redelivered">): boolean {
  return request.key !== undefined || request.name !== undefined || request.redelivered;
}

/** UTF-16 units of an address and a client that weigh as much as one request. */
const UNITS_OF_WEIGHT = 512;

/** A request's weight in bounded queues: its address and client can each be as long as a topic. */
export function queueWeight({ address, client }: Pick<Request, "address" | "client">): number {
  return 1 + Math.floor((address.length + client.length) / UNITS_OF_WEIGHT);
}
