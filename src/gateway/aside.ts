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
  /** What the client hears of a refusal, delivered when `stored` resolves; undefined where it is told nothing. */
  refuse(request: Request, failure: Failure): Known | undefined;
  /**
   * One more asker hears an answer that grows or was given, unless one at the same address does.
   * Resolves when that asker may be told that its request arrived.
   */
  share(request: Request, known: Known, how: "joined" | "repeated"): Promise<void>;
  /** One sentence, whole; delivered when `stored` resolves. `unlimited` where it cost the asker no token. */
  say(request: Request, text: string, unlimited: boolean): Known;
}

const IGNORED = { outcome: "duplicate", duplicate: "ignored", unlimited: true } as const;

type Heard = Omit<Known, "stored">;
type Facts = Pick<Entry, "duplicate" | "failure" | "passedOver" | "unlimited">;

export function createAside({ clock, log, ...options }: AsideOptions): Aside {
  const { replies, forbidden, tally, write } = options;

  const send = (request: Request, known: Heard, facts: Facts): Promise<void> => {
    const acceptedAt = clock.now();
    const reply = async (): Promise<void> => {
      const end = tally.begin();
      known.addresses.add(request.address);
      const delivery = deliver(request, known.answer, clock);
      await delivery.finished;
      known.addresses.delete(request.address);
      const { failure, answer } = known;
      const outcome = failure?.code ?? "ok";
      write({ request, acceptedAt, outcome, failure, delivery, answer, ...facts });
      end();
    };
    return replies.send(laneOf(request), reply, request.durable);
  };
  const sendNew = (request: Request, text: string, facts: Facts): Known => {
    const answer = createAnswer({ clock, intervalMs: 0 });
    const failure = facts.failure && wireFailureOf(facts.failure);
    answer.push(text);
    answer.finish(failure);
    const heard: Heard = { answer, addresses: new Set([request.address]), failure };
    return { ...heard, stored: send(request, heard, facts) };
  };

  return {
    refuse(request, failure) {
      const passedOver = failure.code === "forbidden" ? forbidden.due(laneOf(request)) : 0;
      if (passedOver !== undefined) return sendNew(request, "", { failure, passedOver });
      log.debug("refused without a word, as lately", whoOf(request));
      return undefined;
    },
    share(request, known, duplicate) {
      if (!known.addresses.has(request.address)) {
        const sent = send(request, known, { duplicate, unlimited: duplicate === "joined" });
        // Who joins a turn is told with it; waiting for its end would hold up every request behind.
        return duplicate === "joined" ? known.stored : sent;
      }
      write({ request, acceptedAt: clock.now(), ...IGNORED });
      return known.stored;
    },
    say: (request, text, unlimited) => sendNew(request, text, { unlimited }),
  };
}
