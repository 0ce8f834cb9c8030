import { Server } from "@modelcontextprotocol/server";
import type { ServerContext } from "@modelcontextprotocol/server";
import { asFailure } from "../../base/failure.ts";
import type { Failure } from "../../base/failure.ts";
import { at } from "../../base/unknown.ts";
import type { Ask } from "../http/ask.ts";
import type { McpResult, McpTool, McpTools } from "./contract.ts";

export interface McpServerOptions {
  /** The agent id. */
  readonly agent: string;
  readonly version: string;
  readonly ask: Ask;
  readonly tools: McpTools;
  /** Why a call of a client is refused. */
  readonly refusal: (client: string) => Failure | undefined;
}

/** Who calls, until when. */
interface Caller {
  readonly client: string;
  /** Aborted when nobody waits for the result any more. */
  readonly gone: AbortSignal;
}

/** UTF-16 units of a question. */
const LONGEST_QUESTION = 262_144;

/** What one caller may do, as a server of the Model Context Protocol: ask the agent, and call tools. */
export function createMcpServer(options: McpServerOptions, caller: Caller): Server {
  const { agent, version, tools } = options;
  const instructions = `The agent ${agent}. It has tools and a memory of its own, and remembers this conversation.`;
  const info = { name: "picoclaw", title: `picoclaw ${agent}`, version };
  const server = new Server(info, { capabilities: { tools: {} }, instructions });
  server.setRequestHandler("tools/list", async () => ({
    tools: [askTool(agent), ...(await tools.offered(caller.client))].map(asTool),
  }));
  server.setRequestHandler("tools/call", async ({ params }, context) => {
    const { text, isError } = await call(params, context, { ...options, ...caller });
    return { content: [{ type: "text", text }], isError };
  });
  return server;
}

const ASK = "ask";

function askTool(agent: string): McpTool {
  const question = { type: "string", description: "The question or the task, in plain words." };
  return {
    name: ASK,
    description: `Asks the agent ${agent}, which answers with its own tools; it remembers earlier questions.`,
    parameters: { type: "object", properties: { question }, required: ["question"] },
    exclusive: true,
  };
}

function asTool({ name, description, parameters, exclusive }: McpTool) {
  return {
    name,
    description,
    inputSchema: { ...parameters, type: "object" as const },
    annotations: { readOnlyHint: exclusive !== true },
  };
}

async function call(
  { name, arguments: given }: { readonly name: string; readonly arguments?: unknown },
  context: ServerContext,
  options: McpServerOptions & Caller,
): Promise<McpResult> {
  const { client, gone, tools, refusal } = options;
  const signal = AbortSignal.any([context.mcpReq.signal, gone]);
  try {
    if (name === ASK) return await ask(at(given, "question"), context, { ...options, signal });
    const refused = refusal(client);
    if (refused !== undefined) throw refused;
    return await tools.call({ client, tool: name, arguments: given, signal });
  } catch (thrown) {
    const { message, retryAfter } = asFailure(thrown);
    const later = retryAfter === undefined ? "" : `; again in ${Math.ceil(retryAfter)} s`;
    return { text: `${message}${later}`, isError: true };
  }
}

/** What a client wants to hear of the progress under. */
function progressTokenIn(request: ServerContext["mcpReq"]): string | number | undefined {
  const token = at(at(request, "_meta"), "progressToken");
  return typeof token === "string" || typeof token === "number" ? token : undefined;
}

/** Progress tells that the answer grows: a client that counts it waits longer. */
async function ask(
  question: unknown,
  { mcpReq }: ServerContext,
  options: McpServerOptions & Pick<Caller, "client"> & { readonly signal: AbortSignal },
): Promise<McpResult> {
  if (typeof question !== "string" || question.trim() === "") {
    return { text: "a question is needed, as text", isError: true };
  }
  if (question.length > LONGEST_QUESTION) {
    return { text: `the question is longer than ${LONGEST_QUESTION} characters`, isError: true };
  }
  const { client, signal } = options;
  const progressToken = progressTokenIn(mcpReq);
  const asked = { client, text: question, stream: progressToken !== undefined, signal };
  let [answer, progress] = ["", 0];
  for await (const { text, done, error } of options.ask(asked)) {
    if (error !== undefined) throw error;
    answer += text;
    if (done || progressToken === undefined) continue;
    progress += 1;
    const params = { progressToken, progress, ...(text !== "" && { message: text }) };
    await mcpReq.notify({ method: "notifications/progress", params });
  }
  return { text: answer, isError: false };
}
