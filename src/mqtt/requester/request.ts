import { Failure } from "../../base/failure.ts";
import type { AnswerPart, RequestOptions } from "../contract.ts";
import type { Incoming } from "../protocol/message.ts";
import { requestTopic, responseTopic, statusTopic, type AgentAddress } from "../protocol/topics.ts";
import { decodePart, encodeRequest, utf8Of, type WirePart } from "../protocol/wire.ts";
import { createBoundedQueue, MAX_TIMER_MS, type BoundedQueue } from "./bounded-queue.ts";
import type { RequesterLink, LinkListener } from "./link.ts";

/** A gateway that sends neither `id` nor `done` has said all when it is quiet for so long. */
const QUIET_MS = 2_000;
/** A status of `offline` can be a moment old: the gateway gets this long to prove it wrong. */
const OFFLINE_GRACE_MS = 1_500;
/** After a loss of the broker a gateway begins to come back 5 s later. */
const RETURN_MS = 10_000;
const INBOX_SIZE = 10_000;

const UNHEARD = "the broker says that nobody subscribes to its requests";

type AnswerEvent =
  | { readonly type: "part"; readonly part: WirePart; readonly payload: Uint8Array }
  | { readonly type: "status"; readonly online: boolean }
  | { readonly type: "lost"; readonly failure: Failure }
  | { readonly type: "restored" };

type Told = Pick<RequestOptions, "client" | "text" | "id" | "stream" | "firstPartMs" | "signal">;

/** See `Device.tell`. */
export async function publishRequest(line: RequesterLink, question: Told): Promise<void> {
  const { firstPartMs, signal } = question;
  const late = new AbortController();
  const timer = setTimeout(
    () => late.abort(untaken(firstPartMs)),
    Math.min(firstPartMs, MAX_TIMER_MS),
  );
  try {
    await tellNow(line, { ...question, signal: AbortSignal.any([signal, late.signal]) });
  } finally {
    clearTimeout(timer);
  }
}

function untaken(ms: number): Failure {
  return new Failure("no_answer", `no answer within ${ms / 1000} s`, {
    why: "the broker did not acknowledge the request",
    remedy: "look at the broker's log, or wait longer with --timeout",
  });
}

async function tellNow({ connection, options }: RequesterLink, question: Told): Promise<void> {
  const { client, text, id, stream } = question;
  const address = addressOf(options.channel.settings);
  const session = await connection.ready(question.signal);
  const topic = requestTopic(address, client);
  const payload = encodeRequest({ text, id, ...(stream !== undefined && { stream }) });
  // No Response Topic: the answer comes on the usual one anyway, and in one message where that is asked for.
  const properties = {
    correlationData: Buffer.from(id),
    contentType: "application/json",
    payloadFormatIndicator: true,
  };
  const message = {
    topic,
    payload,
    qos: 1 as const,
    ...(session.protocol === 5 && { properties }),
  };
  const { noMatchingSubscribers } = await connection.publish(message, question.signal);
  if (noMatchingSubscribers) throw unserved(address.agent, UNHEARD);
}

/** See `Device.ask`. */
export async function* request(
  line: RequesterLink,
  question: RequestOptions,
): AsyncGenerator<AnswerPart, void> {
  const address = addressOf(line.options.channel.settings);
  const inbox = createBoundedQueue<AnswerEvent>(INBOX_SIZE);
  const response = responseTopic(address, question.client);
  const status = statusTopic(address);
  const listener = listenerFor(inbox, { response, status, id: question.id });
  const stop = await line.listen([response, status], listener);
  try {
    await publishRequest(line, question);
    yield* answerOf(line, inbox, question);
  } finally {
    stop();
  }
}

function addressOf(settings: { topic_prefix: string; agent_id: string }): AgentAddress {
  return { prefix: settings.topic_prefix, agent: settings.agent_id };
}

function unserved(agent: string, why: string): Failure {
  return new Failure("unserved", `nobody serves the agent ${agent}`, {
    why,
    remedy: "start it with: picoclaw gateway",
  });
}

function listenerFor(
  inbox: BoundedQueue<AnswerEvent>,
  { response, status, id }: { response: string; status: string; id: string },
): LinkListener {
  const message = ({ topic, payload, retain, properties }: Incoming): void => {
    if (topic === status) putStatus(inbox, utf8Of(payload));
    if (topic !== response || retain) return;
    const part = decodePart(payload);
    const names = [part?.id ?? id, properties?.correlationData?.toString() ?? id];
    if (part && names.every((name) => name === id)) inbox.put({ type: "part", part, payload });
  };
  return {
    message,
    lost: (failure) => inbox.put({ type: "lost", failure }),
    restored: () => inbox.put({ type: "restored" }),
  };
}

function putStatus(inbox: BoundedQueue<AnswerEvent>, word: string | undefined): void {
  if (word === "online" || word === "offline") {
    inbox.put({ type: "status", online: word === "online" });
  }
}

/** What is known while an answer is being collected; times are milliseconds of `performance.now()`. */
interface Progress {
  /** A status was seen, so the gateway follows the contract and echoes ids. */
  modern: boolean;
  parts: number;
  /** The parts carry neither id nor seq: a gateway that ends by being quiet. */
  quietEnds: boolean;
  deadline: number;
  offlineUntil: number;
  /** The broker was lost before the first part: the request may have been lost with it. */
  doubtful: boolean;
  /** At the last try the broker said that nobody heard the request. */
  unheard: boolean;
}

async function* answerOf(
  line: RequesterLink,
  inbox: BoundedQueue<AnswerEvent>,
  question: RequestOptions,
): AsyncGenerator<AnswerPart, void> {
  const take = createPartOrder();
  const progress: Progress = {
    modern: false,
    parts: 0,
    quietEnds: false,
    deadline: performance.now() + question.firstPartMs,
    offlineUntil: Number.POSITIVE_INFINITY,
    doubtful: false,
    unheard: false,
  };
  for (;;) {
    const wait = Math.min(progress.deadline, progress.offlineUntil) - performance.now();
    const event = await inbox.take(wait, question.signal);
    if (event === undefined) {
      if (progress.quietEnds) return;
      throw silence(line, question, progress);
    }
    if (event.type !== "part") await note(line, event, progress, question);
    else if (isOurs(event.part, progress)) {
      const part = taken(take(event.part, event.payload), inbox);
      if (part === undefined) continue;
      advance(progress, event.part, question);
      yield part;
      if (part.done) return;
    }
  }
}

function taken(part: PartResult, inbox: BoundedQueue<AnswerEvent>): AnswerPart | undefined {
  if (part === "missing" || inbox.dropped() > 0) throw cutOff("a part of the answer went missing");
  return part === "ignored" ? undefined : part;
}

/**
 * A gateway that follows the contract sends our id with every part; only what it did not understand is
 * answered without one, since the id could not be read either.
 */
function isOurs({ id, error }: WirePart, { modern }: Progress): boolean {
  const misunderstood = error?.code === "bad_request" || error?.code === "too_large";
  return !modern || id !== undefined || misunderstood;
}

function advance(progress: Progress, part: WirePart, { nextPartMs }: RequestOptions): void {
  progress.parts += 1;
  progress.offlineUntil = Number.POSITIVE_INFINITY;
  progress.doubtful = false;
  progress.quietEnds = part.id === undefined && part.seq === undefined;
  progress.deadline = performance.now() + (progress.quietEnds ? QUIET_MS : nextPartMs);
}

async function note(
  line: RequesterLink,
  event: Exclude<AnswerEvent, { type: "part" }>,
  progress: Progress,
  question: RequestOptions,
): Promise<void> {
  switch (event.type) {
    case "status":
      noteStatus(progress, event.online);
      if (event.online && progress.doubtful) await tellAgain(line, progress, question);
      return;
    case "lost":
      if (event.failure.code !== "unreachable") {
        throw progress.parts > 0 ? cutOff(event.failure.message) : event.failure;
      }
      progress.doubtful = progress.parts === 0;
      return;
    case "restored":
      if (progress.modern && progress.doubtful) await tellAgain(line, progress, question);
      return;
  }
}

function noteStatus(progress: Progress, online: boolean): void {
  const grace = progress.doubtful ? RETURN_MS : OFFLINE_GRACE_MS;
  const waits = online || progress.parts > 0;
  progress.modern = true;
  progress.offlineUntil = waits ? Number.POSITIVE_INFINITY : performance.now() + grace;
}

/**
 * Says once more what may have died with the broker; a gateway that follows the contract knows it by its
 * id. Nobody may hear it yet, because the gateway comes back later than we do: its `online` tells us.
 */
async function tellAgain(
  line: RequesterLink,
  progress: Progress,
  question: RequestOptions,
): Promise<void> {
  try {
    await publishRequest(line, question);
    progress.unheard = false;
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "unserved") throw error;
    progress.unheard = true;
  }
}

function silence(
  line: RequesterLink,
  { nextPartMs, firstPartMs }: RequestOptions,
  progress: Progress,
): Failure {
  const { agent_id } = line.options.channel.settings;
  if (progress.offlineUntil < progress.deadline) return unserved(agent_id, "its status is offline");
  if (progress.unheard) return unserved(agent_id, UNHEARD);
  if (progress.parts > 0) return cutOff(`nothing came for ${nextPartMs / 1000} s`);
  const why = line.connection.problem()?.message ?? "the gateway may be busy, or not running";
  return new Failure("no_answer", `no answer within ${firstPartMs / 1000} s`, {
    why,
    remedy: "wait longer with --timeout, or look at the gateway's log",
  });
}

function cutOff(why: string): Failure {
  return new Failure("cut_off", "the answer was cut off", { why, remedy: "ask again" });
}

/** What one more message on the response topic is to an answer that is being collected. */
type PartResult = AnswerPart | "ignored" | "missing";

/**
 * Puts the parts of one answer in order: a part with `seq` 0 begins anew, a repeated one is ignored, a
 * hole is `missing`. A gateway that numbers nothing is taken part by part.
 */
export function createPartOrder(): (part: WirePart, payload: Uint8Array) => PartResult {
  let expected = 0;
  let begun = false;
  let last: Uint8Array | undefined;
  return (part, payload) => {
    const { text, seq, done = false, error } = part;
    const rest = { text, done, ...(error && { error }), payload };
    if (seq === undefined) {
      const restart = !begun;
      begun = true;
      return { ...rest, restart };
    }
    // A second delivery of the only part so far (QoS 1) is no new beginning.
    const repeated = expected === 1 && last !== undefined && Buffer.compare(last, payload) === 0;
    if (repeated || (seq !== 0 && seq < expected)) return "ignored";
    if (seq > expected) return "missing";
    begun = true;
    expected = seq + 1;
    last = payload;
    return { ...rest, seq, restart: seq === 0 };
  };
}
