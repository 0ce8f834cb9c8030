import { openAgent } from "../../src/agent/agent.ts";
import { SILENT } from "../../src/base/log.ts";
import { laneOf } from "../../src/gateway/request-keys.ts";
import { ask } from "../gateway/client.ts";
import { agentConfig, modelEntry } from "../support/agent-config.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import type { ModelServer } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { serve } from "./scenario-run.ts";

/** Rounds of tools that a question which begins with `work` takes. */
export const ROUNDS = 3;

/**
 * What the model was asked, in the order in which it took the questions: `summary`, or the words of who
 * asked. Whoever asks for work has it call tools in three rounds before it answers.
 */
function answerOneByOne(server: ModelServer, milliseconds: number): string[] {
  const begun: string[] = [];
  let last: Promise<void> = Promise.resolve();
  server.otherwise(async (request, response) => {
    const before = last;
    const { promise, resolve } = Promise.withResolvers<void>();
    last = promise;
    await before;
    const { tools = [], messages } = request.body;
    const asked = messages.findLast(({ role }) => role === "user")?.content ?? "";
    const done = messages.slice(messages.findLastIndex(({ role }) => role === "user") + 1);
    begun.push(tools.length === 0 ? "summary" : asked);
    await new Promise((end) => setTimeout(end, milliseconds));
    const isWork = asked.startsWith("work") && done.length < 2 * ROUNDS;
    const call = calls({
      id: `c${done.length}`,
      name: "device",
      arguments: '{"facts":["uptime"]}',
    });
    await (isWork ? call : answers("As it was said."))(request, response);
    resolve();
  });
  return begun;
}

/** A gateway whose client `talker` has said 500 messages, in front of a model that takes one question at a time. */
export async function openLongConversation(milliseconds: number) {
  const folder = await temporaryFolder();
  const server = await startModelServer();
  const begun = answerOneByOne(server, milliseconds);
  // A window so small that 500 messages are many portions.
  const config = agentConfig([modelEntry({ api_base: server.base })], {
    workspace: folder.path,
    context_window: 3_000,
  });
  const agent = await openAgent({ config, log: SILENT });
  const { store, gateway } = await serve(agent, folder.path);
  const lane = laneOf({ channel: "mqtt", client: "talker" });
  for (let turn = 0; turn < 250; turn += 1) {
    await store.append(lane, [
      { role: "user", text: `And what of number ${turn}, which came after the others?` },
      { role: "assistant", text: `Number ${turn} is as good as the ones before it.` },
    ]);
  }
  return {
    store,
    lane,
    begun,
    summaries: () => begun.filter((what) => what === "summary").length,
    say(client: string, text: string) {
      const asked = ask(text, { client, fingerprint: `${client} ${text}` });
      void gateway.accept(asked.request);
      return asked;
    },
    async [Symbol.asyncDispose]() {
      await gateway.drain(0);
      await agent.close();
      await store.close();
      await server.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}
