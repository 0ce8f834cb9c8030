import type { IncomingMessage, ServerResponse } from "node:http";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { textAt } from "../../base/unknown.ts";
import type { Ask } from "../http/ask.ts";
import type { ClientAccess } from "../http/client-access.ts";
import { createOpenRequests } from "../http/open-requests.ts";
import { readJson } from "../http/read-json.ts";
import { chatRequestOf } from "./chat-request.ts";
import { answerChat, loadedReply } from "./chat.ts";
import { API_VERSION, isModel, showOf, tagsOf } from "./models.ts";
import type { AgentModel } from "./models.ts";
import { failureReply, sendJson } from "./replies.ts";

export interface OllamaOptions {
  readonly model: AgentModel;
  readonly accessOf: (request: IncomingMessage) => ClientAccess;
  readonly ask: Ask;
  readonly log: Log;
}

/** What programs know as the API of Ollama, with the agent as its one model. Does not reject. */
export type Ollama = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** Bytes of a request: images come in it, and a history that is not read. */
const MOST_BYTES = 8 * 2 ** 20;
/** Bytes of a request that names a model alone. */
const MOST_NAMING_BYTES = 64 * 1024;

export function createOllama(options: OllamaOptions): Ollama {
  const beginChat = createOpenRequests();
  return async (request, response) => {
    try {
      await answer({ ...options, request, response, beginChat });
    } catch (thrown) {
      // The client left: nobody is there to hear of it.
      if (response.destroyed) return;
      const failure = asFailure(thrown);
      if (failure.code === "internal" || failure.code === "failed") {
        options.log.warn("an Ollama request failed", { why: failure.why ?? failure.message });
      }
      if (response.headersSent) response.destroy();
      else failureReply(response, failure);
    }
  };
}

interface Visit extends OllamaOptions {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly beginChat: ReturnType<typeof createOpenRequests>;
}

type Route = (visit: Visit, client: string) => Promise<void>;

const ROUTES: Readonly<Record<string, Route>> = {
  "GET /api/version": async ({ response }) => {
    sendJson(response, 200, { version: API_VERSION });
  },
  "GET /api/tags": async ({ response, model }) => sendJson(response, 200, tagsOf(model)),
  // No model is in memory: the agent is not here.
  "GET /api/ps": async ({ response }) => sendJson(response, 200, { models: [] }),
  "POST /api/show": async ({ request, response, model }) => {
    const body = await readJson(request, MOST_NAMING_BYTES);
    checkModel(model, textAt(body, "model") || textAt(body, "name"));
    sendJson(response, 200, showOf(model));
  },
  "POST /api/chat": async (visit, client) => {
    const end = visit.beginChat(client);
    if (end === undefined) throw tooMany();
    try {
      await chat(visit, client);
    } finally {
      end();
    }
  },
};

async function answer(visit: Visit): Promise<void> {
  const { request, response, accessOf } = visit;
  const access = accessOf(request);
  if ("status" in access) {
    if (access.status === 401) response.setHeader("www-authenticate", "Bearer");
    return sendJson(response, access.status, { error: access.message });
  }
  const path = request.url?.split("?", 1)[0] ?? "";
  const method = request.method === "HEAD" ? "GET" : request.method;
  const name = `${method} ${path}`;
  if (Object.hasOwn(ROUTES, name)) return ROUTES[name]?.(visit, access.client);
  return sendJson(response, 404, { error: `${name} is not part of this API (docs/ollama.md)` });
}

async function chat({ request, response, model, ask }: Visit, client: string): Promise<void> {
  const body = chatRequestOf(await readJson(request, MOST_BYTES));
  checkModel(model, body.model);
  const { question, stream } = body;
  if (question === undefined) return sendJson(response, 200, loadedReply(body.model));
  await answerChat(
    response,
    body.model,
    (signal) => ask({ ...question, client, stream, signal }),
    stream,
  );
}

function checkModel(model: AgentModel, asked: string): void {
  if (isModel(model, asked)) return;
  throw new Failure(
    "unserved",
    `model ${JSON.stringify(asked)} not found, the agent is ${model.name}`,
  );
}

function tooMany(): Failure {
  return new Failure("busy", "too many chats are open", { retryAfter: 5 });
}
