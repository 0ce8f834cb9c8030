import type { Request } from "./contract.ts";
import type { ChannelPolicy } from "./limits.ts";

/** What of a request counts. */
export type Counted = Pick<Request, "channel" | "durable" | "text">;

/** What was accepted and is neither running nor delivered. */
export interface Backlog {
  enter(request: Counted): void;
  leave(request: Counted): void;
  /** Whether one more request fits; `waiting` is what its client has waiting already. */
  hasRoom(request: Counted, policy: ChannelPolicy, waiting: number): boolean;
}

/** Requests that only this process holds, and the characters of their texts, whatever the configuration says. */
const IN_MEMORY = 1024;
const CHARACTERS = 8 * 2 ** 20;
/** Requests that the store holds: some hundred bytes of memory each. */
const IN_STORE = 65_536;

/** `queued` is how many the configuration allows in all; 0 is no limit but the program's own. */
export function createBacklog(queued: number): Backlog {
  const byChannel = new Map<string, number>();
  const stored = { requests: 0 };
  const held = { requests: 0 };
  let characters = 0;

  const change = (request: Counted, by: 1 | -1): void => {
    (request.durable ? stored : held).requests += by;
    if (!request.durable) characters += by * request.text.length;
    byChannel.set(request.channel, (byChannel.get(request.channel) ?? 0) + by);
  };
  const fits = ({ durable, text }: Counted): boolean =>
    durable
      ? stored.requests < IN_STORE
      : held.requests < IN_MEMORY && characters + text.length <= CHARACTERS;

  return {
    enter: (request) => change(request, 1),
    leave: (request) => change(request, -1),
    hasRoom(request, policy, waiting) {
      return (
        fits(request) &&
        isBelow(stored.requests + held.requests, queued) &&
        isBelow(waiting, policy.limits.queued) &&
        isBelow(byChannel.get(request.channel) ?? 0, policy.totalLimits.queued)
      );
    },
  };
}

/** 0 is no limit. */
function isBelow(count: number, limit: number): boolean {
  return limit === 0 || count < limit;
}
