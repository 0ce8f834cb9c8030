import type { Request } from "./contract.ts";
import type { ChannelPolicy } from "./limits.ts";

/** What was accepted and is neither running nor delivered. */
export interface Backlog {
  enter(request: Request): void;
  leave(request: Request): void;
  /** Whether one more request fits; `waiting` is what its client has waiting already. */
  hasRoom(request: Request, policy: ChannelPolicy, waiting: number): boolean;
}

/** Requests in all, whatever the configuration says. */
const REQUESTS = 1024;
/** Characters of their texts together: 1024 texts of the largest payload would not fit on a small board. */
const CHARACTERS = 8 * 2 ** 20;

/** `queued` is how many the configuration allows in all; 0 is no limit but the program's own. */
export function createBacklog(queued: number): Backlog {
  const byChannel = new Map<string, number>();
  let requests = 0;
  let characters = 0;

  const change = (request: Request, by: 1 | -1): void => {
    requests += by;
    characters += by * request.text.length;
    byChannel.set(request.channel, (byChannel.get(request.channel) ?? 0) + by);
  };

  return {
    enter: (request) => change(request, 1),
    leave: (request) => change(request, -1),
    hasRoom(request, policy, waiting) {
      return (
        requests < REQUESTS &&
        isBelow(requests, queued) &&
        characters + request.text.length <= CHARACTERS &&
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
