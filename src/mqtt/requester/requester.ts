import { startDeadline } from "../../base/async.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { AnswerPart, Requester, RequesterOptions, RequestOptions } from "../contract.ts";
import type { Incoming, Outgoing } from "../protocol/message.ts";
import { answerPartOf, createPartOrder, type PartResult } from "../protocol/parts.ts";
import { requestTopic, responseTopic, statusTopic } from "../protocol/topics.ts";
import { encodeRequest, utf8Of, type WirePart } from "../protocol/wire.ts";
import { createBoundedQueue, openLink } from "./link.ts";
import type { BoundedQueue, LinkListener, RequesterLink } from "./link.ts";
import { watch } from "./watch.ts";

/** A gateway that sends neither `id` nor `done` has finished when it is quiet for so long. */
const QUIET_MS = 2_000;
/** A status of `offline` can be a moment old: the gateway gets this long to answer nevertheless. */
const OFFLINE_GRACE_MS = 1_500;
/** After a loss of the broker a gateway reconnects 5 s later. */
const RETURN_MS = 10_000;
/** Silence after a request of QoS 0, and no status: then the broker is asked for subscribers. */
const NO_STATUS_MS = 100;
/** The same with the status `online`: most answers begin earlier, and a retained status can be out of date. */
const ONLINE_MS = 1_000;
const REMEDY = "check that the broker runs there, or name another with --broker";

/** Connects to the channel's broker under an id of its own; throws `unreachable`, `refused` or `config`. */
export async function openRequester(options: RequesterOptions): Promise<Requester> {
  const link = openLink(options);
  const session = await firstSession(link, options);
  return {
    protocol: session.protocol,
    request: (wanted) => request(linkTo(link, wanted), wanted),
    publishRequest: (wanted) => publishRequest(linkTo(link, wanted), wanted),
    watch: (wanted) => watch(link, wanted),
    async *agents(wanted) {
      const { agents } = await import("./agents.ts");
      yield* agents(link, wanted);
    },
    close: () => link.connection.close().catch(() => {}),
  };
}

/** The same connection, for the agent that is asked. */
function linkTo(link: RequesterLink, { agent }: Pick<RequestOptions, "agent">): RequesterLink {
  return agent === undefined ? link : { ...link, address: { ...link.address, agent } };
}

async function firstSession({ connection, failed }: RequesterLink, options: RequesterOptions) {
  try {
    return await Promise.race([connection.ready(options.signal), failed]);
  } catch (error) {
    await connection.close().catch(() => {});
    options.signal.throwIfAborted();
    const { code, message, why, remedy = REMEDY, cause } = asFailure(error);
    const isNamed = code === "refused" || code === "config";
    const { broker } = options.channel.settings;
    const named = broker.length === 1 ? `no connection to ${broker.join()}: ` : "";
    const facts = { why, remedy, cause };
    throw new Failure(isNamed ? code : "unreachable", named + message, facts);
  }
}

type AnswerEvent =
  | { readonly type: "part"; readonly part: WirePart; readonly payload: Uint8Array }
  | { readonly type: "status"; readonly online: boolean }
  | { readonly type: "lost"; readonly failure: Failure }
  | { readonly type: "restored" }
  /** The broker was asked for subscribers, and there are none, or it lets us publish nothing there. */
  | { readonly type: "undeliverable"; readonly failure: Failure };

/**
 * See `Requester.request`. At QoS 0 the broker acknowledges nothing, so nothing is in the way of the answer:
 * brokers with Nagle's algorithm hold it back behind a PUBACK. Whether anybody is subscribed is asked only
 * after a silence.
 */
async function* request(
  link: RequesterLink,
  options: RequestOptions,
): AsyncGenerator<AnswerPart, void> {
  const { settings } = link.options.channel;
  const { address } = link;
  const queue = createBoundedQueue<AnswerEvent>();
  const response = responseTopic(address, options.client);
  const status = statusTopic(address);
  const listener = listenerFor(queue, { response, status, id: options.id });
  const stop = await link.listen([response, status], listener).catch(async (error: unknown) => {
    const { withMissingLines } = await import("./access.ts");
    throw withMissingLines(error, settings, `topic read ${response}`);
  });
  const over = new AbortController();
  const signal = AbortSignal.any([options.signal, over.signal]);
  try {
    const isQuick = settings.qos === 0;
    if (isQuick) await publish(link, options, 0);
    const isPublished = isQuick
      ? () => true
      : publishMeanwhile(link, { ...options, signal }, queue);
    const isChecked = isQuick && link.connection.session()?.protocol === 5;
    const check = (): void => void checkSubscribers(link, { ...options, signal }, queue);
    yield* answerOf(link, queue, {
      ...options,
      check: isChecked ? check : undefined,
      isPublished,
    });
  } finally {
    over.abort();
    stop();
  }
}

/**
 * Publishes at QoS 1 while the answer is awaited, and returns whether that is done: the built-in broker acknowledges
 * what the gateway has stored, and a rejection can come without that. A failure comes as an event.
 */
function publishMeanwhile(
  link: RequesterLink,
  options: RequestOptions,
  queue: BoundedQueue<AnswerEvent>,
): () => boolean {
  let isPublished = false;
  publishRequest(link, options).then(
    () => {
      isPublished = true;
    },
    (error: unknown) => queue.put({ type: "undeliverable", failure: asFailure(error) }),
  );
  return () => isPublished;
}

/** See `Requester.publishRequest`. */
async function publishRequest(
  link: RequesterLink,
  options: Parameters<Requester["publishRequest"]>[0],
): Promise<void> {
  const { noMatchingSubscribers } = await publish(link, options, 1);
  if (noMatchingSubscribers) throw unserved(link);
}

async function publish(
  link: RequesterLink,
  options: Parameters<Requester["publishRequest"]>[0],
  qos: 0 | 1,
) {
  const { firstPartMs, signal } = options;
  const deadline = startDeadline(firstPartMs, { parent: signal, reason: notAcknowledged });
  try {
    const session = await link.connection.ready(deadline.signal);
    const message = messageOf(link, options, { qos, protocol: session.protocol });
    return await link.connection.publish(message, deadline.signal);
  } catch (error) {
    const topic = requestTopic(link.address, options.client);
    const { withMissingLines } = await import("./access.ts");
    throw withMissingLines(error, link.options.channel.settings, `topic write ${topic}`);
  } finally {
    deadline.close();
  }
}

function notAcknowledged(ms: number): Failure {
  return new Failure("no_answer", `no answer within ${ms / 1000} s`, {
    why: "the broker did not acknowledge the request",
    remedy: "look at the broker's log, or wait longer with --timeout",
  });
}

function messageOf(
  link: RequesterLink,
  {
    client,
    text,
    id,
    stream,
    extras,
  }: Pick<RequestOptions, "client" | "text" | "id" | "stream" | "extras">,
  { qos, protocol }: { readonly qos: 0 | 1; readonly protocol: 4 | 5 },
): Outgoing {
  // A channel for displays answers in bare text otherwise.
  const isForDisplays = link.options.channel.settings.accept === "text/plain";
  const accept = isForDisplays ? "application/json" : undefined;
  // No Response Topic: the answer comes on the usual one, and with it the gateway would not stream.
  const properties = {
    correlationData: Buffer.from(id),
    contentType: "application/json",
    payloadFormatIndicator: true,
  };
  return {
    topic: requestTopic(link.address, client),
    payload: encodeRequest({ text, id, stream, extras, accept }),
    qos,
    properties: protocol === 5 ? properties : undefined,
  };
}

/**
 * Asks an MQTT 5 broker for subscribers of requests with empty messages at QoS 1, which gateways ignore. The
 * first goes to the request topic of our own client id: if a program answers it, it is not an answer to the
 * client. If that topic has no subscriber or is refused, another goes to the client's, with a Response Topic
 * and Correlation Data of its own. The result comes as an event.
 */
async function checkSubscribers(
  link: RequesterLink,
  { client, signal }: RequestOptions,
  queue: BoundedQueue<AnswerEvent>,
): Promise<void> {
  const { address } = link;
  const { clientId } = link.connection;
  const properties = {
    responseTopic: responseTopic(address, clientId),
    correlationData: Buffer.from(clientId),
  };
  const publishEmpty = (level: string) =>
    link.connection.publish(
      { topic: requestTopic(address, level), payload: "", qos: 1, properties },
      signal,
    );
  const isServed = await publishEmpty(clientId).then(
    (published) => !published.noMatchingSubscribers,
    () => false,
  );
  if (isServed || signal.aborted) return;
  try {
    const { noMatchingSubscribers } = await publishEmpty(client);
    if (noMatchingSubscribers) queue.put({ type: "undeliverable", failure: unserved(link) });
  } catch (error) {
    const failure = asFailure(error);
    if (failure.code === "refused") queue.put({ type: "undeliverable", failure });
  }
}

function unserved(
  link: RequesterLink,
  why = "the broker says that nobody subscribes to its requests",
): Failure {
  return new Failure("unserved", `nobody serves the agent ${link.address.agent}`, {
    why,
    remedy: "start it with: picoclaw gateway; which agents are there: picoclaw agents",
  });
}

function listenerFor(
  queue: BoundedQueue<AnswerEvent>,
  { response, status, id }: { response: string; status: string; id: string },
): LinkListener {
  const message = (incoming: Incoming): void => {
    const { topic, payload } = incoming;
    if (topic === status) putStatus(queue, utf8Of(payload));
    const part = topic === response ? answerPartOf(incoming, id) : undefined;
    if (part !== undefined) queue.put({ type: "part", part, payload });
  };
  return {
    message,
    lost: (failure) => queue.put({ type: "lost", failure }),
    restored: () => queue.put({ type: "restored" }),
  };
}

function putStatus(queue: BoundedQueue<AnswerEvent>, status: string | undefined): void {
  if (status === "online" || status === "offline") {
    queue.put({ type: "status", online: status === "online" });
  }
}

interface AnswerOptions extends RequestOptions {
  /** Asks the broker for subscribers; undefined if it cannot answer, or has answered. */
  readonly check: (() => void) | undefined;
  /** Whether the broker has acknowledged the request, if that was asked for. */
  readonly isPublished: () => boolean;
}

/** What is known while an answer is being collected; times are milliseconds of `performance.now()`. */
interface Progress {
  /** A status was seen, so the gateway follows the contract and echoes ids. */
  modern: boolean;
  parts: number;
  /** Whether a part had text; an empty one says that the agent still works. */
  hasText: boolean;
  /** The parts carry neither id nor seq: a gateway that ends by being quiet. */
  quietEnds: boolean;
  deadline: number;
  offlineUntil: number;
  /** When to ask the broker for subscribers; infinite once it was asked. */
  checkAt: number;
  /** The broker was lost before the first part: the request may have been lost with it. */
  doubtful: boolean;
  /** When the request was published again, nobody was subscribed to it. */
  noSubscribers: boolean;
}

async function* answerOf(
  link: RequesterLink,
  queue: BoundedQueue<AnswerEvent>,
  options: AnswerOptions,
): AsyncGenerator<AnswerPart, void> {
  const order = createPartOrder();
  const begin = performance.now();
  const progress: Progress = {
    modern: false,
    parts: 0,
    hasText: false,
    quietEnds: false,
    deadline: begin + options.firstPartMs,
    offlineUntil: Number.POSITIVE_INFINITY,
    checkAt: options.check === undefined ? Number.POSITIVE_INFINITY : begin + NO_STATUS_MS,
    doubtful: false,
    noSubscribers: false,
  };
  for (;;) {
    const next = Math.min(progress.deadline, progress.offlineUntil, progress.checkAt);
    const event = await queue.take(next - performance.now(), options.signal);
    if (event === undefined && next === progress.checkAt) {
      progress.checkAt = Number.POSITIVE_INFINITY;
      options.check?.();
    } else if (event === undefined) {
      if (progress.quietEnds) return;
      throw await silence(link, options, progress);
    } else if (event.type !== "part") await note(link, event, progress, options);
    else if (isOurs(event.part, progress)) {
      const part = checkedPart(order(event.part, event.payload), queue);
      if (part === undefined) continue;
      advance(progress, event.part, options);
      yield part;
      if (part.done) return;
    }
  }
}

function checkedPart(part: PartResult, queue: BoundedQueue<AnswerEvent>): AnswerPart | undefined {
  if (part === "missing" || queue.dropped() > 0) {
    throw cutOff("a part of the answer went missing");
  }
  return part === "ignored" ? undefined : part;
}

/**
 * A gateway that follows the contract sends our id with every part. Only a request that it did not
 * understand is answered without one, because the id could not be read either.
 */
function isOurs({ id, error }: WirePart, { modern }: Progress): boolean {
  const misunderstood = error?.code === "bad_request" || error?.code === "too_large";
  return !modern || id !== undefined || misunderstood;
}

function advance(progress: Progress, part: WirePart, options: RequestOptions): void {
  const { firstPartMs, nextPartMs } = options;
  progress.parts += 1;
  [progress.offlineUntil, progress.checkAt] = [Infinity, Infinity];
  progress.doubtful = false;
  progress.quietEnds = part.id === undefined && part.seq === undefined;
  progress.hasText ||= part.text !== "";
  const answerMs = progress.hasText ? nextPartMs : Math.max(firstPartMs, nextPartMs);
  progress.deadline = performance.now() + (progress.quietEnds ? QUIET_MS : answerMs);
}

async function note(
  link: RequesterLink,
  event: Exclude<AnswerEvent, { type: "part" }>,
  progress: Progress,
  options: RequestOptions,
): Promise<void> {
  switch (event.type) {
    case "status":
      noteStatus(progress, event.online);
      if (event.online && progress.doubtful) await publishAgain(link, progress, options);
      return;
    case "lost":
      noteLoss(progress, event.failure);
      return;
    case "restored":
      if (progress.modern && progress.doubtful) await publishAgain(link, progress, options);
      return;
    case "undeliverable":
      if (progress.parts === 0 && !progress.doubtful) throw event.failure;
      return;
  }
}

function noteStatus(progress: Progress, online: boolean): void {
  const now = performance.now();
  const grace = progress.doubtful ? RETURN_MS : OFFLINE_GRACE_MS;
  const isExpected = online || progress.parts > 0;
  progress.modern = true;
  progress.offlineUntil = isExpected ? Number.POSITIVE_INFINITY : now + grace;
  if (progress.checkAt < Number.POSITIVE_INFINITY)
    progress.checkAt = now + (online ? ONLINE_MS : 0);
}

function noteLoss(progress: Progress, failure: Failure): void {
  const isFinal = failure.code !== "unreachable";
  if (isFinal) throw progress.parts > 0 ? cutOff(failure.message) : failure;
  progress.doubtful = progress.parts === 0;
}

/**
 * Publishes the request again, which may have died with the broker; a gateway that follows the contract
 * recognizes it by its id. Perhaps nobody is subscribed yet, because the gateway reconnects later than we
 * do: its status `online` leads here again.
 */
async function publishAgain(
  link: RequesterLink,
  progress: Progress,
  options: RequestOptions,
): Promise<void> {
  const { noMatchingSubscribers } = await publish(link, options, 1);
  progress.noSubscribers = noMatchingSubscribers;
}

async function silence(
  link: RequesterLink,
  { client, nextPartMs, firstPartMs, isPublished }: AnswerOptions,
  progress: Progress,
): Promise<Failure> {
  if (progress.parts === 0 && !isPublished()) return notAcknowledged(firstPartMs);
  if (progress.offlineUntil < progress.deadline) return unserved(link, "its status is offline");
  if (progress.noSubscribers) return unserved(link);
  if (progress.hasText) return cutOff(`nothing came for ${nextPartMs / 1000} s`);
  const why = link.connection.problem()?.message ?? "the gateway is down, busy, or an ACL bars it";
  const { settings } = link.options.channel;
  const { accessUser } = await import("./access.ts");
  const [write, read] = [requestTopic(link.address, client), responseTopic(link.address, client)];
  return new Failure("no_answer", `no answer within ${firstPartMs / 1000} s`, {
    why,
    remedy: `wait longer with --timeout, run picoclaw doctor where the gateway runs, or let ${accessUser(settings)} write ${write} and read ${read} (picoclaw acl mosquitto prints a user for debugging)`,
  });
}

function cutOff(why: string): Failure {
  return new Failure("cut_off", "the answer was cut off", { why, remedy: "ask again" });
}
