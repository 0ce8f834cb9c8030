import type { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./contract.ts";
import { deliver } from "./delivery.ts";
import { wireFailureOf } from "./failures.ts";
import { whoOf } from "./journal.ts";
import type { Entry } from "./journal.ts";
import type { Known } from "./known.ts";
import { laneOf } from "./names.ts";
import type { Notices } from "./notices.ts";
import { createAnswer } from "./parts.ts";
import type { Replies } from "./replies.ts";
import type { Tally } from "./tally.ts";

export interface AsideOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly replies: Replies;
  /** Who was told lately that it may not ask. */
  readonly forbidden: Notices;
  readonly tally: Tally;
  readonly write: (entry: Entry) => void;
}

/** What is answered at once, beside the lanes. */
export interface Aside {
  refuse(request: Request, failure: Failure): void;
  /** One more asker hears an answer that grows or was given, unless one at the same address does. */
  share(request: Request, known: Known, how: "joined" | "repeated"): void;
  /** One sentence, whole. */
  say(request: Request, text: string): Known;
}

type Facts = Pick<Entry, "duplicate" | "failure" | "passedOver">;

export function createAside({ clock, log, ...options }: AsideOptions): Aside {
  const { replies, forbidden, tally, write } = options;

  const send = (request: Request, known: Known, facts: Facts): void => {
    const acceptedAt = clock.now();
    replies.send(laneOf(request), async () => {
      const end = tally.begin();
      known.addresses.add(request.address);
      const delivery = deliver(request, known.answer, clock);
      await delivery.finished;
      known.addresses.delete(request.address);
      const { failure, answer } = known;
      const outcome = failure?.code ?? "ok";
      write({ request, acceptedAt, outcome, failure, delivery, answer, ...facts });
      end();
    });
  };
  const knownOf = (text: string, failure?: Failure): Known => {
    const answer = createAnswer({ clock, intervalMs: 0 });
    answer.push(text);
    answer.finish(failure);
    return { answer, addresses: new Set(), failure };
  };

  return {
    refuse(request, failure) {
      const passedOver = failure.code === "forbidden" ? forbidden.due(laneOf(request)) : 0;
      if (passedOver !== undefined) {
        send(request, knownOf("", wireFailureOf(failure)), { failure, passedOver });
        return;
      }
      log.debug("refused without a word, as lately", whoOf(request));
    },
    share(request, known, duplicate) {
      if (!known.addresses.has(request.address)) {
        send(request, known, { duplicate });
        return;
      }
      write({ request, acceptedAt: clock.now(), outcome: "duplicate", duplicate: "ignored" });
    },
    say(request, text) {
      const known = knownOf(text);
      send(request, known, {});
      return known;
    },
  };
}
