import { Failure } from "../../base/failure.ts";
import type { AgentFacts, AgentsOptions } from "../contract.ts";
import { decodeInfo } from "../protocol/info.ts";
import type { Incoming } from "../protocol/message.ts";
import { type AgentAddress, isClientId } from "../protocol/topics.ts";
import { utf8Of } from "../protocol/wire.ts";
import { withMissingLines } from "./access.ts";
import { createBoundedQueue, type RequesterLink } from "./link.ts";

/** Agents of one prefix that are told apart; further ones are not seen. */
const MAX_AGENTS = 10_000;
const MAX_AGENT_ID = 256;

type Kind = "status" | "info";

/** See `Requester.agents`. */
export async function* agents(
  link: RequesterLink,
  { quietMs, signal }: AgentsOptions,
): AsyncGenerator<AgentFacts, void> {
  const queue = createBoundedQueue<AgentFacts | Failure>();
  const known = new Map<string, AgentFacts>();
  const filters = filtersFor(link.address);
  const message = (incoming: Incoming): void => {
    const seen = agentOf(link.address, incoming.topic);
    if (seen === undefined || incoming.payload.length === 0) return;
    const before = known.get(seen.agent) ?? { agent: seen.agent };
    if (known.size >= MAX_AGENTS && !known.has(seen.agent)) return;
    const facts = { ...before, ...factsIn(seen.kind, incoming.payload) };
    known.set(seen.agent, facts);
    if (JSON.stringify(facts) !== JSON.stringify(before)) queue.put(facts);
  };
  const lost = (failure: Failure): void => {
    if (failure.code !== "unreachable" || quietMs !== undefined) queue.put(failure);
  };
  const stop = await link
    .listen(filters, { message, lost, restored: () => {}, retained: true })
    .catch((error: unknown) => {
      const { settings } = link.options.channel;
      throw withMissingLines(error, settings, ...filters.map((filter) => `topic read ${filter}`));
    });
  try {
    for (;;) {
      const next = await queue.take(quietMs ?? Number.POSITIVE_INFINITY, signal);
      if (next instanceof Failure) throw next;
      if (next === undefined && quietMs !== undefined) return;
      if (next !== undefined) yield next;
    }
  } finally {
    stop();
  }
}

/** An agent id has one level, or as many as that of the channel. */
function filtersFor({ prefix, agent }: AgentAddress): readonly string[] {
  const depths = new Set([1, agent.split("/").length]);
  return [...depths].flatMap((depth) => {
    const levels = Array.from({ length: depth }, () => "+").join("/");
    return [`${prefix}/${levels}/status`, `${prefix}/${levels}/info`];
  });
}

function agentOf({ prefix }: AgentAddress, topic: string) {
  const end = topic.lastIndexOf("/");
  const kind = topic.slice(end + 1);
  if (!topic.startsWith(`${prefix}/`) || (kind !== "status" && kind !== "info")) return undefined;
  const agent = topic.slice(prefix.length + 1, end);
  // Anyone may have written there: what cannot be an agent id is none.
  const isId = agent.length <= MAX_AGENT_ID && agent.split("/").every(isClientId);
  return isId ? ({ agent, kind } as const) : undefined;
}

function factsIn(kind: Kind, payload: Uint8Array): Pick<AgentFacts, "online" | "info"> {
  if (kind === "info") {
    const info = decodeInfo(payload);
    return info?.state === undefined && info !== undefined ? { info } : {};
  }
  const status = utf8Of(payload);
  return status === "online" || status === "offline" ? { online: status === "online" } : {};
}
