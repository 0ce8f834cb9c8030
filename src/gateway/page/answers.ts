import type { IncomingMessage, ServerResponse } from "node:http";
import { asFailure } from "../../base/failure.ts";
import type { GatewayStatus } from "../statistics/contract.ts";
import type { PageQuestion, PageSources } from "./contract.ts";
import { ANSWER_START, answerEnd, askContent, endOf, startOf } from "./document.ts";
import { escapeHtml, renderToString } from "./render.ts";
import { HTML } from "./responses.ts";

/** Questions of the page at a time. */
const QUESTIONS = 4;
/** Milliseconds after which a question ends without its answer. */
const LONGEST_MS = 15 * 60_000;
/** Milliseconds between two words that keep a connection open, also at a proxy. */
const HEARTBEAT_MS = 5000;

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly status: GatewayStatus;
}

/** Asks what was written into the box, and sends the answer as it comes. */
export interface Answers {
  readonly answer: (form: URLSearchParams, exchange: Exchange) => Promise<void>;
}

/** How an answer is written: line by line for the script of the page, or as a page. */
interface Writer {
  readonly type: string;
  readonly start: string;
  readonly part: (text: string, restart: boolean) => string;
  readonly heartbeat: string;
  readonly end: (note: string, failed: boolean) => string;
}

export function createAnswers({ ask }: Pick<PageSources, "ask">): Answers {
  let asked = 0;
  return {
    async answer(form, { request, response, status }) {
      // Nobody waits for the answer any more, and nothing would say so again.
      if (response.destroyed) return;
      const question = questionIn(form);
      const isScript = request.headers.accept === "application/x-ndjson";
      const writer = isScript ? LINES : pageWriter(status, question);
      const abort = new AbortController();
      const signal = AbortSignal.any([abort.signal, AbortSignal.timeout(LONGEST_MS)]);
      response.on("close", () => abort.abort());
      response.writeHead(200, {
        "content-type": writer.type,
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
        connection: "close",
      });
      response.write(writer.start);
      if (asked >= QUESTIONS) {
        response.end(writer.end("Other questions of this page wait for their answers.", true));
        return;
      }
      asked += 1;
      const heartbeat = setInterval(() => response.write(writer.heartbeat), HEARTBEAT_MS);
      try {
        await write(ask({ ...question, signal }), response, writer);
      } finally {
        clearInterval(heartbeat);
        asked -= 1;
      }
    },
  };
}

function questionIn(form: URLSearchParams): Omit<PageQuestion, "signal"> {
  const field = (name: string): string => form.get(name) ?? "";
  return { client: field("client"), channel: field("channel"), text: field("text") };
}

async function write(
  parts: ReturnType<PageSources["ask"]>,
  response: ServerResponse,
  writer: Writer,
): Promise<void> {
  const begun = performance.now();
  let error: string | undefined;
  try {
    for await (const part of parts) {
      error = part.error;
      if (error === undefined) response.write(writer.part(part.text, part.restart === true));
    }
  } catch (thrown) {
    const { message, remedy } = asFailure(thrown);
    error = remedy === undefined ? `${message}.` : `${message}. Try: ${remedy}`;
  }
  const took = ((performance.now() - begun) / 1000).toFixed(1);
  response.end(writer.end(error ?? `Answered after ${took} s.`, error !== undefined));
}

const line = (value: object): string => `${JSON.stringify(value)}\n`;

const LINES: Writer = {
  type: "application/x-ndjson",
  start: "\n",
  part: (text, restart) => line(restart ? { text, restart } : { text }),
  heartbeat: "\n",
  end: (note, failed) => line(failed ? { error: note } : { done: note }),
};

function pageWriter(status: GatewayStatus, question: Omit<PageQuestion, "signal">): Writer {
  const options = { page: "ask", title: "Ask", status, access: "full" } as const;
  return {
    type: HTML,
    start: `${startOf(options)}${renderToString(askContent(status, question))}${ANSWER_START}`,
    part: (text, restart) =>
      `${restart ? '</p><p class="note">The answer begins again.</p><p class="text">' : ""}${escapeHtml(text)}`,
    heartbeat: "<!-- -->",
    end: (note) => `${answerEnd(note)}${endOf(options)}`,
  };
}
