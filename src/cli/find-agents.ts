import type { AgentFacts, AgentsOptions, Requester } from "../mqtt/contract.ts";

/** Milliseconds of silence after which all agents are known that the broker knows. */
const FOUND_MS = 500;

/** The agents that the broker knows, by their names. */
export async function findAgents(
  requester: Pick<Requester, "agents">,
  { quietMs = FOUND_MS, signal }: AgentsOptions,
): Promise<readonly AgentFacts[]> {
  const found = new Map<string, AgentFacts>();
  for await (const facts of requester.agents({ quietMs, signal })) found.set(facts.agent, facts);
  return [...found.values()].toSorted((a, b) => (a.agent < b.agent ? -1 : 1));
}
