import assert from "node:assert/strict";
import { createServer } from "node:http";
import { join } from "node:path";
import { openAgent } from "../../src/agent/agent.ts";
import type { Agent } from "../../src/agent/agent.ts";
import type { Message } from "../../src/agent/contract.ts";
import { openDeviceHistory } from "../../src/agent/device/history.ts";
import type { DeviceHistory } from "../../src/agent/device/history.ts";
import { pause } from "../../src/base/async.ts";
import { SILENT } from "../../src/base/log.ts";
import { BOUNDS } from "../../src/cli/state/conversations.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import type { Gateway } from "../../src/gateway/gateway.ts";
import type { Store } from "../../src/store/contract/store.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { ask } from "../gateway/client.ts";
import { OPEN_TO_ALL } from "../gateway/setup.ts";
import { agentConfig, modelEntry, toolProfile } from "../support/agent-config.ts";
import { frameOf } from "../support/frames.ts";
import {
  calls,
  hangs,
  refuses,
  resets,
  startModelServer,
  streams,
} from "../support/model-server.ts";
import type { Behaviour, ChatRequest, ModelServer } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { assertHolds, holds, writeFiles } from "./scenario.ts";
import type { Asking, ModelStep, Scenario } from "./scenario.ts";

/** A device with picoclaw on it, a model's server beyond, and clients that ask. */
export interface ScenarioRun extends AsyncDisposable {
  readonly workspace: string;
  /** Asks, plays the model, and checks what was heard. */
  ask(asking: Asking): Promise<void>;
  /** Ends the program and starts it again on the same files. */
  restart(): Promise<void>;
}

interface Program {
  readonly agent: Agent;
  readonly history: DeviceHistory;
  readonly store: Store<Message>;
  readonly gateway: Gateway;
}

export async function openScenarioRun(scenario: Scenario): Promise<ScenarioRun> {
  const folder = await temporaryFolder();
  const server = await startModelServer();
  const workspace = join(folder.path, "workspace");
  await writeFiles(folder.path, scenario.device);
  await writeFiles(workspace, scenario.workspace);
  const start = (): Promise<Program> => startProgram(scenario, { root: folder.path, server });
  let program = await start();
  return {
    workspace,
    ask: (asking) => askIn(program, asking, server),
    async restart() {
      await end(program);
      program = await start();
    },
    async [Symbol.asyncDispose]() {
      await end(program);
      await server.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

interface Place {
  readonly root: string;
  readonly server: ModelServer;
}

async function startProgram(scenario: Scenario, { root, server }: Place): Promise<Program> {
  const workspace = join(root, "workspace");
  const config = configOf(scenario, workspace, server.base);
  const device = { root, workspace, now: () => new Date(), pause };
  const history = openDeviceHistory({ device, log: SILENT });
  await history.take();
  const agent = await openAgent({ config, log: SILENT, root, history });
  const served = await serve(agent, workspace);
  await served.gateway.resume();
  return { agent, history, ...served };
}

/** A gateway with a store in the workspace in front of an agent, for everyone; `admin` is an administrator. */
export async function serve(agent: Agent, workspace: string) {
  const store = await openSqliteStore<Message>(join(workspace, "state", "picoclaw.db"), {
    owner: crypto.randomUUID(),
    now: () => Date.now(),
    bounds: { ...BOUNDS, windowMs: 600_000 },
    log: SILENT,
    sole: true,
  });
  const gateway = createGateway<Message>({
    answer: agent.answer,
    ...(agent.compact && { compact: agent.compact }),
    store,
    log: SILENT,
    maxParallelTurns: 0,
    turnTimeoutMs: 60_000,
    policies: new Map([["mqtt", { ...OPEN_TO_ALL, adminFrom: ["admin"], intervalMs: 0 }]]),
  });
  return { store, gateway };
}

async function end({ agent, history, store, gateway }: Program): Promise<void> {
  await gateway.drain(0);
  await agent.close();
  await history.close();
  await store.close();
}

function configOf(
  { defaults, tools, profiles, models, main }: Scenario,
  workspace: string,
  base: string,
) {
  const entry = (fields: object) => modelEntry({ api_base: base, ...fields });
  const entries = [{ model_name: "main", model: "openai/main", ...main }, ...models].map(entry);
  const config = agentConfig(entries, { workspace, max_llm_retries: 0, ...defaults });
  const absolute = (path: string): string => join(workspace, path);
  const known = Object.entries(profiles).map(([pattern, { tools: names, read, write }]) =>
    toolProfile({
      pattern,
      tools: names,
      read: read.map(absolute),
      write: write.map(absolute),
    }),
  );
  return { ...config, tools: { ...config.tools, ...tools, profiles: known } };
}

async function askIn(program: Program, asking: Asking, server: ModelServer): Promise<void> {
  const faults: unknown[] = [];
  const from = server.requests.length;
  server.script(...asking.model.map((step) => played(step, faults)));
  const client = asking.admin ? "admin" : asking.client;
  const asked = ask(asking.asks, { client, fingerprint: `${client} ${asking.asks} ${from}` });
  await program.gateway.accept(asked.request);
  const last = await asked.done;
  await until("the model was asked all of it", () => {
    return faults.length > 0 || server.requests.length >= from + asking.model.length;
  });
  if (faults.length > 0) throw faults[0];
  if (asking.model.some(({ summarizes }) => summarizes !== undefined)) {
    await until("the conversation is summarized", async () => isSummarized(program.store));
  }
  assert.equal(last.error?.code, asking.error, `${asking.asks}: ${last.error?.message}`);
  assertHolds(asked.text(), asking.hears, `the answer to ${asking.asks}`);
  for (const word of asking.not) assert.ok(!holds(asked.text(), word), `${word} was said`);
  assert.equal(server.requests.length, from + asking.model.length, "questions to the model");
}

async function isSummarized(store: Store<Message>): Promise<boolean> {
  const sessions = await store.conversations();
  return sessions.some(({ summarized }) => summarized);
}

/** One answer of the model, which looks at the question first. */
export function played(step: ModelStep, faults: unknown[]): Behaviour {
  return async (request, response) => {
    try {
      checkQuestion(step, request.body);
    } catch (thrown) {
      faults.push(thrown);
    }
    await behaviourOf(step)(request, response);
  };
}

function checkQuestion(step: ModelStep, body: ChatRequest): void {
  const { messages } = body;
  const all = messages.map(({ content }) => content ?? "");
  const behind = messages.findLastIndex(({ role }) => role === "assistant") + 1;
  if (step.named !== undefined) assert.equal(body.model, step.named);
  assertHolds(all.slice(behind).join("\n"), step.reads, "what the model reads");
  assertHolds(all[0] ?? "", step.knows, "the system prompt");
  assertHolds(all.join("\n"), step.remembers, "the conversation");
  const tools = JSON.stringify(body.tools ?? []);
  assertHolds(tools, step.offers, "the list of tools");
  for (const word of step.offersNot) {
    assert.ok(!holds(tools, word), `the list of tools must not hold ${word}`);
  }
  for (const word of step.lacks) {
    assert.ok(!holds(all.join("\n"), word), `the model must not read ${word}`);
  }
  for (const word of step.knowsNot) {
    assert.ok(!holds(all[0] ?? "", word), `the system prompt must not hold ${word}`);
  }
  const [ran, refused] = outcomes(messages);
  if (step.ran !== undefined) assert.deepEqual(ran, step.ran, `what ran: ${all.at(-1)}`);
  if (step.refused !== undefined) assert.deepEqual(refused, step.refused, `refused: ${all.at(-1)}`);
}

/** The tools of the last round, by what they say of themselves: results, and why there is none. */
function outcomes(messages: ChatRequest["messages"]): [string[], string[]] {
  const asked = messages.findLastIndex(({ tool_calls: made }) => made !== undefined);
  const results = asked === -1 ? [] : messages.slice(asked + 1);
  const names = new Map(
    messages[asked]?.tool_calls?.map((call) => [call.id, call.function.name] as const),
  );
  const [ran, refused]: [string[], string[]] = [[], []];
  for (const { role, content, tool_call_id: id = "" } of results) {
    if (role !== "tool") continue;
    const isRefusal = frameOf(content).text.startsWith("error: ");
    (isRefusal ? refused : ran).push(names.get(id) ?? "");
  }
  return [ran, refused];
}

const TOO_LONG = {
  error: { code: "context_length_exceeded", message: "maximum context length is 4096 tokens" },
};

function behaviourOf(step: ModelStep): Behaviour {
  // With headers: some runtimes ask again by themselves where not even those came.
  if (step.fails === "gone") return resets("");
  if (step.fails === "hangs") return hangs();
  if (step.fails === "overflow") return refuses(400, TOO_LONG);
  if (step.fails !== undefined) return refuses(step.fails);
  const { mumbles, says: text } = step;
  const wanted = (step.calls ?? []).map((call) => ({
    name: call.tool,
    arguments: JSON.stringify(call.with),
  }));
  if (mumbles !== undefined) return calls({ name: mumbles.tool, arguments: mumbles.arguments });
  if (wanted.length > 0) return streams({ text, toolCalls: wanted, finish: "tool_calls" });
  return streams({ text: step.summarizes ?? step.answers ?? "" });
}

/** A web server on this machine with a few pages. */
export async function openPages(pages: Readonly<Record<string, string>>) {
  const server = createServer((request, response) => {
    const page = pages[request.url ?? ""];
    response.writeHead(page === undefined ? 404 : 200, { "content-type": "text/html" });
    response.end(page ?? "nothing here");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    base: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
