import type { Agents } from "../../agent/tools/ask-agent.ts";
import type { TopicsOptions } from "./topics.ts";

const load = () => import("./ask-agent.ts");

/** Lets the agent ask the other agents at the brokers of its channels. The code is loaded with the first call. */
export function createOtherAgents(options: TopicsOptions): Agents {
  return {
    list: async (place) => (await load()).listAgents(options, place),
    ask: async (question) => (await load()).askAgent(options, question),
  };
}
