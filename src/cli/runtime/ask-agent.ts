import { createHash } from "node:crypto";
import type { Agents } from "../../agent/tools/ask-agent.ts";
import { startDeadline } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { SILENT } from "../../base/log.ts";
import { prefixOf } from "../../base/truncate.ts";
import type { AgentFacts, Requester } from "../../mqtt/contract.ts";
import { findAgents } from "../find-agents.ts";
import { stopTurn } from "../request.ts";
import type { TopicsOptions } from "./topics.ts";

const MAX_CLIENT_ID = 128;
const NEXT_PART_MS = 30_000;

/** The other agents that the broker knows. */
export async function listAgents(
  options: TopicsOptions,
  { channel: name, signal }: Parameters<Agents["list"]>[0],
): Promise<readonly AgentFacts[]> {
  const { requester, settings } = await connectTo(options, name, signal);
  try {
    const found = await findAgents(requester, { signal });
    return found.filter(({ agent }) => agent !== settings.agent_id);
  } finally {
    await requester.close();
  }
}

/** Asks another agent as a client of its own. */
export async function askAgent(
  options: TopicsOptions,
  { channel: name, signal, ...question }: Parameters<Agents["ask"]>[0],
): Promise<string> {
  const { agent, text, maxChars, milliseconds } = question;
  const { requester, settings } = await connectTo(options, name, signal);
  const client = askingClient(settings.agent_id, question.client);
  const deadline = startDeadline(milliseconds, { parent: signal, reason: tooLate });
  try {
    const hops = question.hops + 1;
    if (agent === settings.agent_id) throw new Failure("forbidden", "an agent cannot ask itself");
    if (hops > settings.max_hops) throw tooManyHops(settings.max_hops);
    const times = { firstPartMs: milliseconds, nextPartMs: NEXT_PART_MS };
    const request = { agent, client, text, id: crypto.randomUUID(), extras: { hops, maxChars } };
    return await collect(requester, { ...request, ...times, signal: deadline.signal }, maxChars);
  } catch (thrown) {
    if (deadline.signal.aborted) await stopTurn(requester, client, agent);
    throw deadline.isOver() ? tooLate(milliseconds) : thrown;
  } finally {
    deadline.close();
    await requester.close();
  }
}

/** A connection for one call. */
async function connectTo(
  { channels, connectTimeoutMs }: TopicsOptions,
  name: string | undefined,
  signal: AbortSignal,
) {
  const channel = channels().find((one) => name === undefined || one.name === name);
  if (channel === undefined) throw new Failure("failed", "no broker is available");
  const { openRequester } = await import("../../mqtt/requester/requester.ts");
  const requester = await openRequester({ channel, connectTimeoutMs, log: SILENT, signal });
  return { requester, settings: channel.settings };
}

/** The text of an answer, as far as it may be long. */
async function collect(
  requester: Requester,
  request: Parameters<Requester["request"]>[0],
  maxChars: number,
): Promise<string> {
  let text = "";
  for await (const part of requester.request(request)) {
    if (part.error !== undefined) {
      const said = prefixOf(part.text, MAX_ERROR);
      throw new Failure("failed", `the agent answered with the error ${part.error.code}: ${said}`);
    }
    text = part.restart ? part.text : text + part.text;
    if (text.length > maxChars) return `${prefixOf(text, maxChars)}\n… (the answer was longer)`;
  }
  return text;
}

const MAX_ERROR = 500;

/**
 * The client as which this agent asks: the same for each of its own clients, so that each has a conversation there.
 * No two clients or agents have the same.
 */
export function askingClient(agent: string, client: string | undefined): string {
  const levels = ["agent", agent, ...(client === undefined ? [] : [client])];
  const id = levels.map((level) => encodeURIComponent(level.toWellFormed())).join(":");
  if (id.length <= MAX_CLIENT_ID) return id;
  const hash = createHash("sha256").update(id).digest("hex").slice(0, 32);
  // `=` is in no shorter one.
  return `${id.slice(0, MAX_CLIENT_ID - hash.length - 1)}=${hash}`;
}

function tooManyHops(most: number): Failure {
  return new Failure("forbidden", "the question has come through too many agents", {
    why: `max_hops of the channel is ${most}`,
  });
}

function tooLate(ms: number): Failure {
  return new Failure(
    "no_answer",
    `the agent has not answered within ${ms / 1000} s, or the broker keeps its answers from us`,
  );
}
