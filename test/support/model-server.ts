import { createServer } from "node:http";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";

/** A request as the server received it. */
export interface ReceivedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The parsed JSON body. */
  readonly body: ChatRequest;
  /** The client's port: equal ones are one connection. */
  readonly port: number;
  /** Aborted when the response ended or its connection did. */
  readonly gone: AbortSignal;
  /** `performance.now()` when its head had arrived. */
  readonly arrivedAt: number;
}

/** The fields of a chat completion's request that tests look at; those of other protocols by name. */
export interface ChatRequest {
  readonly model: string;
  readonly stream?: boolean;
  readonly messages: readonly ChatMessage[];
  readonly tools?: readonly { readonly function: { readonly name: string } }[];
  readonly [key: string]: unknown;
}

export interface ChatMessage {
  readonly role: string;
  readonly content: string | null;
  readonly tool_call_id?: string;
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly {
    readonly id: string;
    readonly function: { readonly name: string; readonly arguments: string };
  }[];
}

/** The messages without the system prompt and without the preface of each question, with its "Noted.". */
export function dialogueOf(messages: readonly ChatMessage[] = []): readonly ChatMessage[] {
  const isPreface = (message?: ChatMessage): boolean =>
    message?.role === "user" && message.content?.endsWith("The question follows.]") === true;
  return messages.filter(
    (message, index) =>
      message.role !== "system" && !isPreface(message) && !isPreface(messages[index - 1]),
  );
}

/** How the server treats one request. */
export type Behaviour = (request: ReceivedRequest, response: ServerResponse) => Promise<void>;

export interface ModelServer extends AsyncDisposable {
  /** What goes into `api_base`: `http://127.0.0.1:<port>/v1`. */
  readonly base: string;
  /** Everything received so far, oldest first. */
  readonly requests: readonly ReceivedRequest[];
  /** The next requests get these, one each, in order. */
  script(...behaviours: readonly Behaviour[]): void;
  /** Requests beyond the script get this; before it is set they get a 501. */
  otherwise(behaviour: Behaviour): void;
  /** Resolves with the request of that index (from 0) as soon as it is there. */
  received(index: number): Promise<ReceivedRequest>;
  /** Cuts all connections. */
  close(): Promise<void>;
}

export interface ModelServerOptions {
  /** The JSON of facts about the server, by the path of a GET; a 404 for all others. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** Keeps no requests, for runs of many. */
  readonly forgets?: boolean;
}

/** A server over real HTTP, on a free port of the loopback; its behaviours say which protocol it speaks. */
export async function startModelServer(options: ModelServerOptions = {}): Promise<ModelServer> {
  const requests: ReceivedRequest[] = [];
  const waiting = new Map<number, (request: ReceivedRequest) => void>();
  const script: Behaviour[] = [];
  let otherwise: Behaviour = refuses(501, { error: { message: "no behaviour is scripted" } });

  const server = createServer((incoming, response) => {
    void receive(incoming, response).then(async (request) => {
      if (request.method === "GET") return answerFact(options.facts?.[request.path], response);
      if (options.forgets !== true) requests.push(request);
      waiting.get(requests.length - 1)?.(request);
      await (script.shift() ?? otherwise)(request, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;

  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });

  return {
    base: `http://127.0.0.1:${port}/v1`,
    requests,
    script: (...behaviours) => void script.push(...behaviours),
    otherwise: (behaviour) => {
      otherwise = behaviour;
    },
    received: (index) =>
      new Promise((resolve) => {
        const request = requests[index];
        if (request === undefined) waiting.set(index, resolve);
        else resolve(request);
      }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function answerFact(fact: unknown, response: ServerResponse): void {
  response.writeHead(fact === undefined ? 404 : 200, { "content-type": "application/json" });
  response.end(JSON.stringify(fact ?? {}));
}

async function receive(
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<ReceivedRequest> {
  const arrivedAt = performance.now();
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  response.on("error", () => gone.abort());
  let text = "";
  for await (const piece of incoming.setEncoding("utf8")) text += piece;
  const { method = "", url: path = "", headers } = incoming;
  const port = incoming.socket.remotePort ?? 0;
  return {
    method,
    path,
    headers,
    port,
    body: JSON.parse(text || "{}"),
    gone: gone.signal,
    arrivedAt,
  };
}

/** How a stream is sent. */
export interface StreamOptions {
  /** The text of the deltas; a text is cut into words. */
  readonly text?: string | readonly string[];
  readonly toolCalls?: readonly ScriptedCall[];
  /** null leaves it out. */
  readonly finish?: string | null;
  /** null leaves it out. */
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly [field: string]: unknown;
  } | null;
  /** Whether `[DONE]` ends it. */
  readonly done?: boolean;
  /** Bytes of one write; the whole stream in one where it is left out. */
  readonly cut?: number;
  /** Spreads the deltas over that time. */
  readonly milliseconds?: number;
  readonly newline?: "\n" | "\r\n";
  /** Sends comments between the events, as some providers do to keep the connection. */
  readonly comments?: boolean;
}

export interface ScriptedCall {
  readonly id?: string;
  readonly index?: number;
  readonly name: string;
  readonly arguments: string;
}

/** Streams an answer as OpenAI does: deltas, the reason of the end, the usage, `[DONE]`. */
export function streams(options: StreamOptions): Behaviour {
  return sendsEvents(streamEvents(options), options);
}

/** Streams events in cuts of bytes, or one by one over a time. */
export function sendsEvents(
  events: readonly string[],
  { milliseconds = 0, cut }: Pick<StreamOptions, "milliseconds" | "cut"> = {},
): Behaviour {
  return async (request, response) => {
    beginStream(response);
    if (milliseconds === 0) {
      await sendCut(response, Buffer.from(events.join("")), cut);
    } else {
      for (const part of events) {
        if (request.gone.aborted) return;
        response.write(part);
        await wait(milliseconds / events.length, request.gone);
      }
    }
    response.end();
  };
}

/** The simplest answer: this text, word by word. */
export function answers(text: string): Behaviour {
  return streams({ text });
}

/** Streams `tokens` short words over about `milliseconds`, for tests from end to end. */
export function streamsSlowly(tokens: number, milliseconds: number): Behaviour {
  return streams({ text: tokenTexts(tokens), milliseconds });
}

/** The text that `streamsSlowly` and its like send. */
export function tokenTexts(tokens: number): string[] {
  return Array.from({ length: tokens }, (_, index) => `token${index} `);
}

/** Answers with the last user message's own text. */
export function echoes(): Behaviour {
  return async (request, response) => {
    const last = request.body.messages.findLast(({ role }) => role === "user");
    await answers(last?.content ?? "")(request, response);
  };
}

/** Asks for tools; the pieces of several calls are interleaved as OpenAI may send them. */
export function calls(...toolCalls: readonly ScriptedCall[]): Behaviour {
  return streams({ toolCalls, finish: "tool_calls" });
}

/** One JSON document, as from a server that does not stream. */
export function answersWhole(message: Record<string, unknown>, rest = {}): Behaviour {
  const choices = [{ index: 0, finish_reason: "stop", message: { role: "assistant", ...message } }];
  const usage = { prompt_tokens: 5, completion_tokens: 7 };
  return sends(JSON.stringify({ object: "chat.completion", choices, usage, ...rest }, null, 2), {
    type: "application/json",
  });
}

/** An error by status; the body is JSON, or text as it is. */
export function refuses(
  status: number,
  body: string | Record<string, unknown> = { error: { message: `status ${status}` } },
  headers: Record<string, string> = {},
): Behaviour {
  const type = typeof body === "string" ? "text/html" : "application/json";
  return async (_, response) => {
    response.writeHead(status, { "content-type": type, ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };
}

/** A body as it is, with a 200, whole. */
export function sends(body: string | Uint8Array, options: SendOptions = {}): Behaviour {
  return async (_, response) => {
    beginStream(response, options.type);
    await sendCut(response, Buffer.from(body), options.cut);
    response.end();
  };
}

export interface SendOptions {
  readonly type?: string;
  readonly cut?: number;
}

/** Sends a body and then nothing more, without an end. Without a body not even the headers come. */
export function hangs(body?: string | Uint8Array, type?: string): Behaviour {
  return async (_, response) => {
    if (body === undefined) return;
    beginStream(response, type);
    response.flushHeaders();
    if (body.length > 0) await sendCut(response, Buffer.from(body));
  };
}

/** Sends a body and then cuts the connection. Without a body it is cut before the headers. */
export function resets(body?: string | Uint8Array, type?: string): Behaviour {
  return async (_, response) => {
    if (body !== undefined) {
      beginStream(response, type);
      response.flushHeaders();
      await sendCut(response, Buffer.from(body));
      await wait(30);
    }
    response.socket?.destroy();
  };
}

/** One event of a stream. */
export function event(json: unknown, newline = "\n"): string {
  return `data: ${typeof json === "string" ? json : JSON.stringify(json)}${newline}${newline}`;
}

/** The event of one piece of text. */
export function textEvent(content: string): string {
  return event(chunk({ content }));
}

/** The events of a whole stream. */
export function streamEvents(options: StreamOptions): string[] {
  const { text = "", toolCalls = [], newline = "\n", comments = false } = options;
  const deltas = typeof text === "string" ? text.split(/(?<=\s)/) : text;
  const chunks = [
    chunk({ role: "assistant", content: "" }),
    ...deltas.map((content) => chunk({ content })),
    ...callDeltas(toolCalls).map((call) => chunk({ tool_calls: [call] })),
    ...endChunks(options),
  ];
  const comment = comments ? `: keep-alive${newline}${newline}` : "";
  return chunks.map((json) => comment + event(json, newline));
}

const USAGE = { prompt_tokens: 11, completion_tokens: 3 };

function endChunks({ finish = "stop", usage = USAGE, done = true }: StreamOptions): unknown[] {
  return [
    ...(finish === null ? [] : [chunk({}, finish)]),
    ...(usage === null ? [] : [{ object: "chat.completion.chunk", choices: [], usage }]),
    ...(done ? ["[DONE]"] : []),
  ];
}

function chunk(delta: Record<string, unknown>, finish: string | null = null) {
  return { object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason: finish }] };
}

/** First all heads, then the arguments in pieces of five characters, in turns. */
function callDeltas(toolCalls: readonly ScriptedCall[]): Record<string, unknown>[] {
  const heads = toolCalls.map(({ name, id, index }, position) => ({
    index: index ?? position,
    id: id ?? `call-${position}`,
    type: "function",
    function: { name, arguments: "" },
  }));
  const pieces = toolCalls.flatMap(({ arguments: words, index }, position) =>
    (words.match(/[^]{1,5}/g) ?? []).map((piece, order) => ({
      order,
      delta: { index: index ?? position, function: { arguments: piece } },
    })),
  );
  const inTurns = pieces.toSorted((left, right) => left.order - right.order);
  return [...heads, ...inTurns.map(({ delta }) => delta)];
}

export function beginStream(response: ServerResponse, type = "text/event-stream"): void {
  response.writeHead(200, { "content-type": type });
}

async function sendCut(response: ServerResponse, bytes: Buffer, cut = bytes.length): Promise<void> {
  response.socket?.setNoDelay(true);
  for (let start = 0; start < bytes.length; start += cut) {
    const isLast = start + cut >= bytes.length;
    response.write(bytes.subarray(start, start + cut));
    // A turn of the event loop, so that the pieces leave one by one.
    if (!isLast) await new Promise((resolve) => setImmediate(resolve));
  }
}

function wait(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
