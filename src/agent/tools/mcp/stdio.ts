import type { JSONRPCMessage, Transport } from "@modelcontextprotocol/client";
import { messageOf } from "../../../base/failure.ts";
import { fromJson, isObject } from "../../../base/unknown.ts";
import { LineProcess } from "../exec/line-process.ts";
import type { LineProcessOptions } from "../exec/line-process.ts";

/** Bytes of one message. */
const LONGEST_LINE = 8 * 2 ** 20;
/** Bytes of lines that are no answers, since the last answer. */
const MAX_NOISE = 4 * 2 ** 20;
/** Bytes of requests that the server has not read. */
const MAX_UNREAD = 8 * 2 ** 20;

/**
 * The connection to a server that is a program: one message in each line (Model Context Protocol, transports). It is
 * closed when the server floods.
 */
export class StdioTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: (message: JSONRPCMessage) => void;
  // With these two the client knows that silence after its first question means an older server.
  readonly stderr = null;
  get pid(): number | null {
    return null;
  }
  /** Why it was closed, on one line for the log; "" while it is open. */
  why = "";
  readonly #start: Pick<LineProcessOptions, "command" | "env">;
  #process: LineProcess | undefined;
  #noise = 0;

  constructor(start: Pick<LineProcessOptions, "command" | "env">) {
    this.#start = start;
  }

  /** Rejects if the program cannot be started; some runtimes report that later. */
  async start(): Promise<void> {
    try {
      const process = new LineProcess({
        ...this.#start,
        longestLine: LONGEST_LINE,
        onLine: (line) => this.#take(line),
        onTooLong: () => this.#abandon("it wrote a line without an end"),
      });
      this.#process = process;
      void process.gone.then(({ kind, text }) =>
        this.#end(kind === "died" ? text : this.#whyNot(text)),
      );
    } catch (thrown) {
      this.why = this.#whyNot(messageOf(thrown));
      throw new Error(this.why, { cause: thrown });
    }
  }

  #whyNot(text: string): string {
    const [program = ""] = this.#start.command;
    return /\bENOENT\b/.test(text) ? `there is no program ${program}` : text;
  }

  send(message: JSONRPCMessage): Promise<void> {
    const process = this.#process;
    if (process === undefined || this.why !== "") throw new Error(this.why || "it is not running");
    if (process.unread > MAX_UNREAD) {
      this.#abandon("it reads nothing");
      throw new Error(this.why);
    }
    process.write(JSON.stringify(message));
    return Promise.resolve();
  }

  /** Ends the program and everything that it started. */
  async close(): Promise<void> {
    await this.#process?.stop();
    this.#end("it was closed");
  }

  #end(why: string): void {
    if (this.why === "") this.why = why;
    const { onclose } = this;
    delete this.onclose;
    onclose?.();
  }

  #abandon(why: string): void {
    this.why ||= why;
    void this.close();
  }

  #take(line: string): void {
    if (this.why !== "") return;
    let message: unknown;
    try {
      message = fromJson(line);
    } catch {
      // Some servers print to the wrong stream.
    }
    if (isMessage(message)) {
      const isAnswer = !("method" in message);
      this.#noise = isAnswer ? 0 : this.#noise + line.length;
      this.onmessage?.(message);
    } else this.#noise += line.length + 1;
    if (this.#noise > MAX_NOISE) this.#abandon("it wrote megabytes that are no answers");
  }
}

/** The client checks the rest, and ignores what it does not know. */
function isMessage(message: unknown): message is JSONRPCMessage {
  return isObject(message) && message["jsonrpc"] === "2.0";
}
