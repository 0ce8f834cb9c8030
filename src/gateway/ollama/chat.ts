import type { ServerResponse } from "node:http";
import type { Ask } from "../http/ask.ts";
import { writeDrained } from "../http/drained.ts";
import { failureReply, sendJson } from "./replies.ts";

type Parts = ReturnType<Ask>;

/** Answers a chat with the parts, which are asked for with a signal that is aborted when the client leaves. */
export async function answerChat(
  response: ServerResponse,
  model: string,
  ask: (signal: AbortSignal) => Parts,
  stream: boolean,
): Promise<void> {
  // The client left meanwhile: nothing would say so again.
  if (response.destroyed) return;
  const left = new AbortController();
  response.on("close", () => left.abort());
  // A model may be silent for longer than a connection may be.
  response.socket?.setTimeout(0);
  const reply = new ChatReply(model);
  const parts = ask(left.signal);
  if (stream) await sendLines(response, parts, reply);
  else await sendWhole(response, parts, reply);
}

/** A chat without a message: Ollama would load the model. */
export function loadedReply(model: string): object {
  return new ChatReply(model).end("", "load");
}

/** Writes an answer as JSON lines. Before the first text an error is one of HTTP, later it is a line. */
async function sendLines(response: ServerResponse, parts: Parts, reply: ChatReply): Promise<void> {
  for await (const { text, done, error } of parts) {
    if (error !== undefined && !response.headersSent) return failureReply(response, error);
    if (!response.headersSent) {
      response.writeHead(200, {
        "content-type": "application/x-ndjson",
        "cache-control": "no-store, no-transform",
        // For nginx, which would hold it back.
        "x-accel-buffering": "no",
        connection: "close",
      });
    }
    if (error !== undefined) return void response.end(line({ error: error.message }));
    if (done) {
      // Clients take the text of the last line, or leave it.
      const last = text === "" ? "" : line(reply.part(text));
      return void response.end(`${last}${line(reply.end("", "stop"))}`);
    }
    await writeDrained(response, line(reply.part(text)));
  }
}

async function sendWhole(response: ServerResponse, parts: Parts, reply: ChatReply): Promise<void> {
  for await (const { text, done, error } of parts) {
    if (error !== undefined) return failureReply(response, error);
    response.setHeader("connection", "close");
    if (done) return sendJson(response, 200, reply.end(text, "stop"));
  }
}

const line = (value: object): string => `${JSON.stringify(value)}\n`;

/** The objects of one answer. */
class ChatReply {
  readonly #model: string;
  readonly #begun = performance.now();

  constructor(model: string) {
    this.#model = model;
  }

  part(content: string): object {
    const message = { role: "assistant", content };
    return { model: this.#model, created_at: new Date().toISOString(), message, done: false };
  }

  /** Durations are nanoseconds. Tokens are not counted here: the command `/status` tells them. */
  end(content: string, reason: "stop" | "load"): object {
    const total = Math.round((performance.now() - this.#begun) * 1e6);
    return {
      ...this.part(content),
      done_reason: reason,
      done: true,
      total_duration: total,
      load_duration: 0,
    };
  }
}
