import { failpoint } from "../../base/failpoint.ts";
import { Failure } from "../../base/failure.ts";
import { deliver, storedAnswerOf } from "../answer/answer-stream.ts";
import type { AnswerStream } from "../answer/answer-stream.ts";
import type { OfflineClients } from "../answer/offline-clients.ts";
import { isAdmin } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { Compaction } from "../compaction.ts";
import type { Answerer } from "../contract.ts";
import { resultOf } from "../dedupe.ts";
import type { Dedupe, Storing } from "../dedupe.ts";
import type { DurableRequests } from "../durable/durable-requests.ts";
import { wireFailureOf } from "../errors.ts";
import { conversationOf, isPush } from "../request-keys.ts";
import type { Accounting } from "../usage/accounts.ts";
import type { Backlog } from "./backlog.ts";
import { answered, isLeftToNextStart, released, start } from "./pending-request.ts";
import type { Outcome, PendingRequest } from "./pending-request.ts";
import type { Hold } from "./slots.ts";
import { runTurn } from "./turn.ts";

export interface ProcessOptions<M> {
  readonly answerer: Answerer<M>;
  readonly turnTimeoutMs: number;
  readonly clock: Clock;
  readonly durableRequests: DurableRequests<M>;
  readonly dedupe: Dedupe<AnswerStream | Storing>;
  readonly accounting: Pick<Accounting, "prepareTurn" | "save">;
  /** Compaction makes way for each turn; each delivered turn may make a conversation too long. */
  readonly compaction: Pick<Compaction<M>, "turnStarted" | "turnAdded">;
  readonly offline: Pick<OfflineClients, "flush" | "settle">;
}

/**
 * Takes one request from the head of its lane to the delivery of its answer: queued → running → answered,
 * or released to the next start. Frees its slot before its lane. Never throws.
 */
export async function processRequest<M>(
  pending: PendingRequest<M>,
  hold: Hold,
  backlog: Backlog,
  options: ProcessOptions<M>,
): Promise<void> {
  const { request, answer } = pending;
  const { clock, dedupe, compaction, offline } = options;
  const next = pending.state.is === "queued" ? pending.state.next : "deliver";

  // The delivery waits for the parts of the answer, and for the answers that wait for the same client.
  const delivery = deliver(request, answer, clock, offline.flush);
  const startedAt = clock.now();
  start(pending, { startedAt, delivery });
  if (next !== "deliver") {
    const turnEnded = compaction.turnStarted();
    await answerRequest(pending, next, hold, options).finally(turnEnded);
  }
  if (hold.tookSlot) backlog.turnEnded(request, clock.now() - startedAt);
  hold.turnEnded();

  await delivery.finished;
  backlog.leave(request);
  const { state, claim } = pending;
  if (claim === undefined && state.is === "answered")
    dedupe.finish(request, answer, resultOf(answer));
  hold.done();
  if (state.is === "answered" && claim !== undefined) {
    await offline.settle({ request, claim }, delivery.failure);
  }
  // From here on the store knows the request; of QoS 0 the finished answers do.
  dedupe.forget(request, answer);
  if (state.is === "answered" && state.outcome && "turned" in state.outcome) {
    compaction.turnAdded(conversationOf(request), pending.allowance);
  }
}

/** Runs the turn, stores its answer, and only then lets readers see its end; or releases the request. */
async function answerRequest<M>(
  pending: PendingRequest<M>,
  next: "begin" | "run",
  hold: Hold,
  options: ProcessOptions<M>,
): Promise<void> {
  const { durableRequests } = options;
  const outcome = await outcomeOf(pending, next, hold, options);
  const isReleased =
    outcome === "taken over" || ("failure" in outcome && isLeftToNextStart(pending));
  if (!isReleased) {
    answered(pending, outcome);
    if (await storeAnswer(pending, outcome, options)) {
      pending.answer.release();
      return;
    }
  }
  released(pending);
  if (pending.claim !== undefined) await durableRequests.release(pending.claim);
}

async function outcomeOf<M>(
  pending: PendingRequest<M>,
  next: "begin" | "run",
  hold: Hold,
  options: ProcessOptions<M>,
): Promise<Outcome<M> | "taken over"> {
  const { cancellation, request } = pending;
  const { turnTimeoutMs, durableRequests, accounting } = options;
  // The store may have to wait for its disk; the turn's own time begins after that.
  cancellation.timeoutAfter(turnTimeoutMs);
  let hasStarted = false;
  try {
    if (cancellation.failure !== undefined) throw cancellation.failure;
    // Reads the client's usage when it is not in memory.
    const ready = accounting.prepareTurn(request, pending.policy);
    if (ready !== undefined) await ready;
    if (next === "begin" && !(await beginAttempt(pending, durableRequests))) return "taken over";
    if (next === "run" && pending.claim !== undefined) failpoint("begun");
    hasStarted = true;
    const turn = turnOf(pending, hold, options);
    const running = runTurn(turn, pending.answer, cancellation);
    const turned = await Promise.race([running, cancellation.forced]);
    return { turned: isSilent(pending) ? { ...turned, messages: [] } : turned };
  } catch (caught) {
    const thrown = cancellation.failure ?? caught;
    const abandoned = hasStarted && cancellation.isForced;
    return { failure: wireFailureOf(thrown), thrown, abandoned };
  }
}

/** Whether its turn has nothing to tell: then nothing is sent, or remembered. */
function isSilent<M>({ request, answer }: PendingRequest<M>): boolean {
  if (!isPush(request) || !isNothing(answer.text)) return false;
  // What came of a call that a person allowed is always told.
  if (request.extras?.pushed?.confirmation !== undefined) return false;
  answer.clear();
  return true;
}

/** Whether the model says that there is nothing to tell, perhaps after words that went with its tool calls. */
function isNothing(text: string): boolean {
  const last = text.trimEnd().split("\n").at(-1) ?? "";
  return NOTHING.test(last) || NO_WORDS.test(text);
}

/** Letters of any script are words; `\W` would take them for signs. */
const NOTHING = /^[^\p{L}\p{N}]*NOTHING[^\p{L}\p{N}]*$/u;
/** An emoji says something. */
const NO_WORDS = /^[^\p{L}\p{N}\p{So}]*(?:nothing[^\p{L}\p{N}]*)?$/iu;

/** Attempts at one turn: a request that ended the process this often would do so for ever. */
const ATTEMPTS = 3;

/** False when another gateway has the request. Throws when it was cancelled or had all its attempts. */
async function beginAttempt<M>(
  pending: PendingRequest<M>,
  durableRequests: DurableRequests<M>,
): Promise<boolean> {
  const { claim, cancellation } = pending;
  if (claim === undefined) return true;
  if (claim.attempt >= ATTEMPTS) throw attemptsExhausted();
  const begun = await durableRequests.begin(claim, cancellation.signal);
  if (begun !== undefined) pending.claim = begun;
  if (cancellation.failure !== undefined) throw cancellation.failure;
  if (begun === undefined) pending.claim = undefined;
  return begun !== undefined;
}

function attemptsExhausted(): Failure {
  return new Failure("internal", "gave up after repeated crashes", {
    why: `the program ended during its turn ${ATTEMPTS} times`,
    remedy: "read the log before each start, and ask in other words",
  });
}

function turnOf<M>(
  pending: PendingRequest<M>,
  hold: Hold,
  { answerer, turnTimeoutMs, durableRequests, clock }: ProcessOptions<M>,
): ReturnType<Answerer<M>> {
  const { request, cancellation, claim, policy, progress } = pending;
  const left = (request.expiresAt ?? Number.POSITIVE_INFINITY) - clock.epoch();
  cancellation.timeoutAfter(Math.min(turnTimeoutMs, left));
  return answerer({
    history: () => durableRequests.history(conversationOf(request)),
    text: request.text,
    ...request.extras,
    client: request.client,
    channel: request.channel,
    isRemote: true,
    isAdmin: isAdmin(policy, request.client),
    allowance: pending.allowance,
    signal: cancellation.signal,
    // An attempt that a shutdown ended does not count, but its steps do.
    ...(((claim?.attempt ?? 0) > 1 || progress.length > 0) && { resumed: progress }),
    record: async (message) => {
      if (claim !== undefined) await durableRequests.record(claim, message, cancellation.signal);
    },
    whileWaiting: (work) => hold.whileWaiting(work, cancellation.signal),
  });
}

/** Stores the closed answer with what the turn adds to the conversation; false when another gateway has the request. */
async function storeAnswer<M>(
  { answer, claim, request }: PendingRequest<M>,
  outcome: Outcome<M>,
  { durableRequests, accounting }: ProcessOptions<M>,
): Promise<boolean> {
  const parts = answer.close("failure" in outcome ? outcome.failure : undefined);
  const turn = "turned" in outcome ? outcome.turned : { messages: [] };
  if (claim === undefined) {
    if (turn.messages.length > 0 || turn.forget) {
      // The usage is written in the same transaction.
      accounting.save();
      void durableRequests.append(conversationOf(request), turn);
    }
    return true;
  }
  failpoint("turned");
  return await durableRequests.answered(claim, storedAnswerOf(parts, answer.failure), turn);
}
