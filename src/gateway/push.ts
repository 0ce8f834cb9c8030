import type { Pushed } from "../base/contract.ts";
import { Failure } from "../base/failure.ts";
import { PUSH_ADDRESS } from "../base/request-extras.ts";
import { truncate } from "../base/truncate.ts";
import type { Acceptance, Admission } from "../store/contract/store.ts";
import { asBusy, mustLeave } from "./accept.ts";
import type { AcceptOptions } from "./accept.ts";
import { AnswerStream, restoredAnswer, storedAnswerOf } from "./answer/answer-stream.ts";
import type { ChannelPolicy } from "./channel-policy.ts";
import type { PromptPush, Push, PushFacts, ReadyPush, Request } from "./contract.ts";
import type { ReplyTo } from "./durable/recovery.ts";
import { shuttingDown } from "./errors.ts";
import type { Place } from "./request/request-queue.ts";

export interface PusherOptions<M> extends AcceptOptions<M> {
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  readonly replyTo?: ReplyTo | undefined;
  /** The name of the conversation of all clients, if they share one. */
  readonly conversation?: string | undefined;
}

/** Milliseconds for which a push is kept, unless it says otherwise. */
const KEPT_MS = 24 * 60 * 60_000;

/** Takes what the program sends by itself, as a request that its client did not make. See `Gateway.push`. */
export class Pusher<M> {
  readonly #options: PusherOptions<M>;

  constructor(options: PusherOptions<M>) {
    this.#options = options;
  }

  async push(push: Push): Promise<"accepted" | "known"> {
    const { policies, accounting, dedupe } = this.#options;
    const policy = policies.get(push.channel);
    if (policy === undefined) throw new Failure("failed", "there is no such channel");
    const request = this.#requestOf(push, policy);
    await accounting.prepare(request, policy);
    const running = dedupe.running(request);
    if (running === undefined) return this.#store(push, request, policy);
    const isKnown = running instanceof AnswerStream || (await running.stored);
    return isKnown ? "known" : this.push(push);
  }

  #requestOf(push: Push, policy: ChannelPolicy): Request {
    const { clock, replyTo, conversation } = this.#options;
    const { channel, client, id } = push;
    if (replyTo === undefined) throw new Failure("failed", "this gateway cannot push");
    const { expiresAt = clock.epoch() + KEPT_MS } = push;
    const recipient = { client, id, expiresAt, address: PUSH_ADDRESS };
    const maxChars = policy.maxChars?.(client) ?? 0;
    const turn = "prompt" in push && pushedBy(push);
    return {
      ...recipient,
      channel,
      text: "prompt" in push ? push.prompt : "",
      ...(turn && { extras: { pushed: turn, ...(maxChars > 0 && { maxChars }) } }),
      ...(conversation !== undefined && { conversation }),
      stream: false,
      // No request of the client has such a key.
      key: `push ${id}`,
      fingerprint: "",
      // A failed one is not tried again.
      redelivered: true,
      // A message has an id that is not used again: it leaves room for others once it is delivered.
      ...(push.from !== "message" && { knownUntil: expiresAt }),
      durable: true,
      reply: replyTo(channel, recipient),
    };
  }

  async #store(push: Push, request: Request, policy: ChannelPolicy): Promise<"accepted" | "known"> {
    const { dedupe, inFlight, durableRequests } = this.#options;
    const stored = Promise.withResolvers<boolean>();
    const storing = { address: request.address, stored: stored.promise };
    const decided: Decided<M> = {};
    const counts = inFlight.enter();
    dedupe.begin(request, storing);
    const failed = Promise.withResolvers<never>();
    const accepted = durableRequests
      .accept(request, this.#admission(push, request, policy, decided), (failure) => {
        if (decided.place !== undefined) this.#options.queue.giveUpStart(decided.place);
        failed.reject(asBusy(failure));
      })
      .catch(() => {
        // The gateway closes, or lost what it holds in a shared store.
        return undefined;
      })
      .then((acceptance) => {
        inFlight.leave(counts);
        dedupe.forget(request, storing);
        this.#continue(request, acceptance, decided);
        stored.resolve(acceptance !== undefined && acceptance.is !== "refused");
        return acceptance;
      });
    // It is tried again meanwhile: whoever tries it again by its id learns the outcome.
    const acceptance = await Promise.race([accepted, failed.promise]);
    if (acceptance === undefined || acceptance.is === "refused") {
      throw decided.refusal ?? shuttingDown("busy");
    }
    return acceptance.is === "known" ? "known" : "accepted";
  }

  /** Decides inside of the store's transaction; when that is tried again, a place stays. */
  #admission(push: Push, request: Request, policy: ChannelPolicy, decided: Decided<M>): Admission {
    const { admission, queue, cluster, inFlight } = this.#options;
    return {
      admit: (hasRoom, elsewhere) => {
        const turn = "prompt" in push ? { elsewhere: elsewhere?.open } : undefined;
        if (decided.place === undefined) {
          decided.refusal = admission.refusalOfPush(request, policy, hasRoom, turn);
        }
        if (decided.refusal !== undefined) return "refuse";
        if ("text" in push) return { ready: storedAnswerOf([readyText(push, policy)]) };
        decided.place ??= queue.reserve(request, policy);
        if (cluster !== undefined && mustLeave(decided.place, elsewhere, { cluster, inFlight })) {
          queue.cancelReserved(decided.place);
          delete decided.place;
          return "leave";
        }
        return decided.place.start === undefined ? "wait" : "begin";
      },
    };
  }

  #continue(request: Request, acceptance: Acceptance<M> | undefined, { place }: Decided<M>): void {
    const { queue, direct, clock } = this.#options;
    if (place !== undefined && acceptance?.is === "new") queue.addReserved(place, acceptance.claim);
    else if (place !== undefined) queue.cancelReserved(place);
    if (acceptance?.is !== "answered") return;
    const answer = restoredAnswer(acceptance.answer, clock);
    direct.send({ request, answer, claim: acceptance.claim });
  }
}

function pushedBy({ from, data, confirmation }: PushFacts & PromptPush): Pushed {
  return { from, ...(data && { data }), ...(confirmation !== undefined && { confirmation }) };
}

function readyText(
  { client, text, whole }: PushFacts & ReadyPush,
  { maxChars }: ChannelPolicy,
): string {
  const most = whole ? 0 : (maxChars?.(client) ?? 0);
  return most > 0 ? truncate(text, most - 1) : text;
}

interface Decided<M> {
  /** Its place in the queue, if it needs a turn. */
  place?: Place<M>;
  refusal?: Failure | undefined;
}
