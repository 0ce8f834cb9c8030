import type { Log } from "../base/log.ts";
import type { Held, Store } from "../store/contract.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./contract.ts";
import type { Dedupe } from "./dedupe.ts";
import { restoredKnown, weigh } from "./known.ts";
import type { Known } from "./known.ts";
import type { ChannelPolicy } from "./limits.ts";
import type { Work } from "./work.ts";

/** Whom a request of a former process came from, and where its answer goes. */
export type Asker = Pick<Request, "client" | "address" | "id" | "expiresAt">;

export interface ResumeOptions<M> {
  readonly store: Store<M>;
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  readonly replyTo?: ((channel: string, asker: Asker) => Request["reply"]) | undefined;
  readonly log: Log;
  readonly clock: Clock;
  readonly work: Pick<Work<M>, "resume">;
  readonly dedupe: Dedupe<Known>;
}

/** Takes up what a former process left in the store; says how many requests that are. */
export async function resume<M>(options: ResumeOptions<M>): Promise<number> {
  await remember(options);
  const held = await options.store.takeOver();
  for (const each of held) takeUp(each, options);
  return held.length;
}

/** What was answered lately, so that it is known again. */
async function remember<M>({ store, dedupe, clock }: ResumeOptions<M>): Promise<void> {
  for (const { name, answer, at } of await store.finished()) {
    const known = restoredKnown(answer, clock);
    const agoMs = Math.max(0, clock.epoch() - at);
    dedupe.restore(name, known, { ...weigh(known), agoMs });
  }
}

function takeUp<M>(held: Held<M>, { policies, replyTo, log, work, clock }: ResumeOptions<M>): void {
  const { name, channel, client, conversation, text, id, stream, address, expiresAt } = held.ticket;
  const policy = policies.get(channel);
  if (policy === undefined || replyTo === undefined) {
    log.warn("a request waits for a channel that is not enabled any more", { channel, client });
    return;
  }
  const asker = {
    client,
    address,
    ...(id !== undefined && { id }),
    ...(expiresAt !== undefined && { expiresAt }),
  };
  const waitedMs = clock.epoch() - held.ticket.acceptedAt;
  log.info(held.answer === undefined ? "request resumed" : "answer resumed", {
    id,
    channel,
    client,
    attempts: held.claim.attempt,
    waited_ms: waitedMs,
  });
  const request: Request = {
    ...asker,
    ...(conversation !== undefined && { conversation }),
    name,
    channel,
    text,
    stream,
    fingerprint: "",
    redelivered: true,
    durable: true,
    reply: replyTo(channel, asker),
  };
  work.resume(request, held, policy);
}
