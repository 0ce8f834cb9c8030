import { asFailure } from "../base/failure.ts";
import type { Failure } from "../base/failure.ts";
import { faultPoint } from "../base/faults.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./contract.ts";
import type { Answer } from "./parts.ts";

/** An answer on its way to one asker. */
export interface Delivery {
  /** Parts handed to the transport so far. */
  readonly parts: number;
  /** When the first of them was, on the clock. */
  readonly firstAt: number | undefined;
  /** Why the rest can never be delivered. */
  readonly failure: Failure | undefined;
  /** Resolves when the last part was delivered or one of them never can be. Never rejects. */
  readonly finished: Promise<void>;
}

/** Hands an answer's parts to the asker, each when the one before was delivered. */
export function deliver(
  request: Pick<Request, "stream" | "reply" | "durable">,
  answer: Answer,
  clock: Pick<Clock, "now">,
): Delivery {
  let parts = 0;
  let firstAt: number | undefined;
  let failure: Failure | undefined;

  const run = async (): Promise<void> => {
    try {
      for await (const part of answer.read(request.stream)) {
        firstAt ??= clock.now();
        parts++;
        await request.reply(part);
        if (request.durable) faultPoint(part.done ? "published" : "streaming");
      }
    } catch (thrown) {
      // A part that is lost leaves a hole that no later part can fill: the rest is not sent.
      failure = asFailure(thrown);
    }
  };
  const finished = run();
  return {
    get parts() {
      return parts;
    },
    get firstAt() {
      return firstAt;
    },
    get failure() {
      return failure;
    },
    finished,
  };
}
