import { pause, settlesWithin } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import type { Watched, WatchedMessage, WatchOptions } from "../contract.ts";
import { type Incoming, isProbe } from "../protocol/message.ts";
import { type AgentAddress, clientIdOf } from "../protocol/topics.ts";
import { decodePart, decodeRequest } from "../protocol/wire.ts";
import { type BoundedQueue, createBoundedQueue } from "./link.ts";
import type { LinkListener, RequesterLink } from "./link.ts";
import type { Heard } from "./probes.ts";

/** Milliseconds of silence after which a watch is probed. */
const SILENCE_MS = 2_000;

/** See `Requester.watch`. */
export async function* watch(
  link: RequesterLink,
  options: WatchOptions,
): AsyncGenerator<Watched, void> {
  const { signal } = options;
  const { address } = link;
  const queue = createBoundedQueue<Watched | Failure>();
  const heard = createHeard();
  const over = new AbortController();
  const filters = filtersFor(address, options);
  const stop = await link
    .listen(filters, watchListener(queue, address, heard))
    .catch(async (error: unknown) => {
      const { settings } = link.options.channel;
      const { withMissingLines } = await import("./access.ts");
      throw withMissingLines(error, settings, ...filters.map((filter) => `topic read ${filter}`));
    });
  void probeSilence(link, { ...options, signal: AbortSignal.any([signal, over.signal]) }, heard);
  try {
    yield { type: "connection", time: new Date(), state: "connected", ...link.node() };
    while (!signal.aborted) {
      const next = await queue.take(Number.POSITIVE_INFINITY, signal).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
      const dropped = queue.dropped();
      if (dropped > 0)
        link.options.log.error("dropped messages: they came faster than they were shown", {
          dropped,
        });
      if (next instanceof Failure) throw next;
      if (next !== undefined) yield next;
    }
  } finally {
    over.abort();
    stop();
  }
}

function createHeard(): Heard {
  const first = {
    request: Promise.withResolvers<void>(),
    response: Promise.withResolvers<void>(),
  };
  return {
    note: (direction) => first[direction].resolve(),
    within: (direction, milliseconds, signal) =>
      settlesWithin(first[direction].promise, milliseconds, signal),
  };
}

/** Does not reject. */
async function probeSilence(
  link: RequesterLink,
  options: WatchOptions,
  heard: Heard,
): Promise<void> {
  try {
    await pause(SILENCE_MS, options.signal);
  } catch {
    return;
  }
  const { warnIfBarred } = await import("./probes.ts");
  await warnIfBarred(link, options, heard);
}

function filtersFor(
  address: AgentAddress,
  { clients, requests, responses }: WatchOptions,
): string[] {
  const levels = clients.length === 0 ? ["+"] : clients;
  const directions = [...(requests ? ["request"] : []), ...(responses ? ["response"] : [])];
  return levels.flatMap((client) =>
    directions.map((direction) => `${address.prefix}/${address.agent}/${client}/${direction}`),
  );
}

function watchListener(
  queue: BoundedQueue<Watched | Failure>,
  address: AgentAddress,
  heard: Heard,
): LinkListener {
  let lostAt: number | undefined;
  return {
    message(message) {
      const seen = watchedMessage(address, message);
      if (seen === undefined) return;
      heard.note(seen.direction);
      if (!isProbe(seen.client, message)) queue.put(seen);
    },
    lost(failure) {
      if (failure.code !== "unreachable") queue.put(failure);
      else if (lostAt === undefined) {
        lostAt = performance.now();
        queue.put({ type: "connection", time: new Date(), state: "lost", reason: failure.message });
      }
    },
    restored(node) {
      const gapMs = Math.round(performance.now() - (lostAt ?? performance.now()));
      lostAt = undefined;
      queue.put({ type: "connection", time: new Date(), state: "restored", gapMs, ...node });
    },
  };
}

function watchedMessage(address: AgentAddress, message: Incoming): WatchedMessage | undefined {
  const { topic, payload, retain: retained } = message;
  const requester = clientIdOf(address, topic, "request");
  const client = requester ?? clientIdOf(address, topic, "response");
  if (client === undefined) return undefined;
  const common = { type: "message", time: new Date(), client, payload, retained } as const;
  if (requester === undefined) return { ...common, direction: "response", ...decodePart(payload) };
  const limits = { plainText: false, maxPayloadBytes: Number.POSITIVE_INFINITY };
  const question = decodeRequest(payload, limits);
  if (question instanceof Failure) return { ...common, direction: "request" };
  const { text, id } = question;
  return { ...common, direction: "request", text, ...(id !== undefined && { id }) };
}
