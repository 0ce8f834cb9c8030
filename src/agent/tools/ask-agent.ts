import * as v from "valibot";
import { TimeoutError, createFairSemaphore } from "../../base/async.ts";
import { matchesPattern } from "../../base/client-pattern.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { truncate } from "../../base/truncate.ts";
import { RefusedCall, ToolError } from "./contract.ts";
import type { CallContext, Tool } from "./contract.ts";
import { defineTool, textField } from "./define.ts";
import { HELD_BACK } from "./web/secret-leak.ts";
import type { HoldsSecret } from "./web/secret-leak.ts";

/** Other agents at the brokers of the channels. */
export interface Agents {
  /** Those that the broker knows. Rejects with a `Failure`, and with the signal's reason. */
  list(place: Place): Promise<readonly ListedAgent[]>;
  /**
   * The answer of another agent, of so many characters at most. Rejects with a `Failure`, also for an answer that is
   * an error, and with the signal's reason.
   */
  ask(question: AgentQuestion): Promise<string>;
}

interface Place {
  /** The channel whose broker is used; default: the first channel. */
  readonly channel?: string | undefined;
  readonly signal: AbortSignal;
}

interface ListedAgent {
  readonly agent: string;
  readonly online?: boolean;
}

interface AgentQuestion extends Place {
  readonly agent: string;
  readonly text: string;
  /** For whom it asks; undefined for a user at this machine. */
  readonly client: string | undefined;
  /** Agents that the question has come through, without this one. */
  readonly hops: number;
  readonly maxChars: number;
  readonly milliseconds: number;
}

const MAX_QUESTION = 8_000;
const MAX_ANSWER = 8_000;
const ANSWER_MS = 120_000;
/** Milliseconds for the end of a call, within its time limit. */
const END_MS = 5_000;
const MAX_LISTED = 100;
/** Characters of an agent id that are shown. */
const MAX_ID = 64;
/** Calls at the same time, of all clients and of one. Each opens a connection to a broker. */
const AT_ONCE = 8;
const OF_ONE = 2;
const SLOT_MS = 5_000;

const input = v.object({
  agent: v.optional(textField("The agent to ask; left out: lists those that can be asked.")),
  question: v.optional(
    v.pipe(
      textField("For it alone: it knows nothing of this conversation."),
      v.maxLength(MAX_QUESTION, `a question has at most ${MAX_QUESTION} characters`),
    ),
  ),
});

/** The tool that asks another agent at the broker of the request, as far as the caller's profile names it. */
export function createAskAgentTool(agents: Agents, holdsSecret: HoldsSecret): Tool {
  const slots = createFairSemaphore(AT_ONCE, OF_ONE);
  return defineTool({
    name: "ask_agent",
    description: "Asks another agent at the broker, such as that of another device.",
    input,
    milliseconds: ANSWER_MS + END_MS,
    characters: MAX_ANSWER + MAX_ID,
    async run({ agent = "", question = "" }, call) {
      let release: (() => void) | undefined;
      try {
        release = await slots.acquire(call.owner, SLOT_MS, call.signal);
        if (agent.trim() === "") return await list(agents, call);
        return await ask(agents, { agent, question, holdsSecret }, call);
      } catch (thrown) {
        call.signal.throwIfAborted();
        if (thrown instanceof Failure) throw new ToolError(thrown.message);
        if (!(thrown instanceof TimeoutError)) throw thrown;
        throw new ToolError("too many agents are being asked, try later");
      } finally {
        release?.();
      }
    },
  });
}

async function list(agents: Agents, { channel, signal, permissions }: CallContext) {
  const found = await agents.list({ channel, signal });
  const allowed = found.filter(({ agent }) => isAllowed(agent, permissions));
  const lines = allowed
    .slice(0, MAX_LISTED)
    .map(({ agent, online }) => `${shown(agent)}${online === false ? " (offline)" : ""}`);
  if (lines.length === 0) return "[no agent that this client may ask is at the broker]";
  return [...lines, ...(allowed.length > MAX_LISTED ? ["… (there were more)"] : [])].join("\n");
}

interface Wanted {
  readonly agent: string;
  readonly question: string;
  readonly holdsSecret: HoldsSecret;
}

async function ask(
  agents: Agents,
  { agent, question, holdsSecret }: Wanted,
  { client, channel, isRemote, hops = 0, permissions, signal }: CallContext,
): Promise<string> {
  if (question.trim() === "") throw new ToolError("a question is needed");
  if (!isAllowed(agent, permissions)) {
    throw new RefusedCall(`this client may not ask the agent ${shown(agent)}`);
  }
  if (holdsSecret(question)) throw new RefusedCall(`nothing was sent: ${HELD_BACK}`);
  const from = isRemote ? client : undefined;
  const bounds = { maxChars: MAX_ANSWER, milliseconds: ANSWER_MS };
  return await agents.ask({
    agent,
    text: question,
    client: from,
    channel,
    hops,
    signal,
    ...bounds,
  });
}

function isAllowed(agent: string, { agents = [] }: CallContext["permissions"]): boolean {
  return agents.some((pattern) => matchesPattern(pattern, agent));
}

function shown(agent: string): string {
  return escapeControl(truncate(agent, MAX_ID));
}
