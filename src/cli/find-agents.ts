import type { AgentFacts, AgentsOptions, Requester } from "../mqtt/contract.ts";

/** Milliseconds of silence after which all agents are known that the broker knows. */
const FOUND_MS = 500;

/** So long, at most, for agents that change all the time. */
const LONGEST_MS = 10_000;

/** The agents that the broker knows, by their names. */
export async function findAgents(
  requester: Pick<Requester, "agents">,
  { quietMs = FOUND_MS, signal }: AgentsOptions,
  longestMs = Math.max(LONGEST_MS, 2 * quietMs),
): Promise<readonly AgentFacts[]> {
  const found = new Map<string, AgentFacts>();
  const end = performance.now() + longestMs;
  for await (const facts of requester.agents({ quietMs, signal })) {
    found.set(facts.agent, facts);
    if (performance.now() > end) break;
  }
  return [...found.values()].toSorted((a, b) => (a.agent < b.agent ? -1 : 1));
}
