import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { onAbort } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { type Host, type Output, suspendJob } from "../../base/host.ts";
import { type InputHistory, REMEMBERED_LINES } from "./input-history.ts";

export interface Prompt {
  /**
   * The next line, or undefined at the end of input. Throws the signal's reason, and `interrupted` on Ctrl-C. Ctrl-Z
   * stops the process; the line goes on when it continues.
   */
  next(): Promise<string | undefined>;
}

const QUESTION = "> ";
/** Erases what stands before the cursor: Ctrl-U. */
const ERASE_LINE = { ctrl: true, name: "u" };

/**
 * Reads lines from the terminal, with what was typed before under the up key. The prompt and the echo go to stderr, because stdout carries only answers.
 * Between two lines the terminal is in its normal mode, so that Ctrl-C reaches the process while an answer
 * is printed.
 */
export function openPrompt(host: PromptHost, signal: AbortSignal, history: InputHistory): Prompt {
  return {
    async next() {
      const line = await onOwnLine(host, readLine(host, history.lines(), signal));
      if (line !== undefined) await history.add(line);
      return line;
    },
  };
}

/**
 * Reads one line without echo, for a passphrase. Returns "" at the end of input. Throws `interrupted` on
 * Ctrl-C, and the signal's reason.
 */
export async function askHidden(
  { stdin, stderr }: PromptHost,
  question: string,
  signal: AbortSignal,
): Promise<string> {
  const unseen: Output = { ...stderr, isTTY: true, write: () => Promise.resolve() };
  try {
    const line = readLine({ stdin, stderr: unseen }, [], signal);
    // Prints the question only after the echo is off.
    await stderr.write(question);
    return (await line) ?? "";
  } finally {
    await stderr.write("\n");
  }
}

/** Reads one line with echo after a question. Throws `interrupted` at the end of input and on Ctrl-C, and the signal's reason. */
export async function askLine(
  host: PromptHost,
  question: string,
  signal: AbortSignal,
): Promise<string> {
  const line = await onOwnLine(host, readLine(host, [], signal, { question }));
  if (line !== undefined) return line;
  throw new Failure("interrupted", "interrupted");
}

/** Ends the line of the prompt where nobody did: later output must not stand on it. */
async function onOwnLine(
  { stderr }: PromptHost,
  reading: Promise<string | undefined>,
): Promise<string | undefined> {
  let line: string | undefined;
  try {
    line = await reading;
  } finally {
    if (line === undefined) await stderr.write("\n");
  }
  return line;
}

type PromptHost = Pick<Host, "stdin" | "stderr">;

interface Line {
  /** What stands before the line. */
  readonly question?: string;
  /** What was typed of it before a suspension. */
  readonly typed?: string;
}

function readLine(
  { stdin, stderr }: PromptHost,
  history: readonly string[],
  signal: AbortSignal,
  { question = QUESTION, typed = "" }: Line = {},
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const output = writableTo(stderr);
    const lines = createInterface({
      input: stdin.stream,
      output,
      terminal: stderr.isTTY,
      history: [...history],
      historySize: REMEMBERED_LINES,
    });
    let isOver = false;
    // Settles first: `lines.close()` emits "close", which means the end of input.
    const settle = (settled: () => void) => {
      stopListening();
      settled();
      lines.close();
    };
    const stopListening = onAbort(signal, () => settle(() => reject(signal.reason)));
    lines.on("SIGINT", () => {
      // As in a shell, Ctrl-C drops what is typed, if there is something.
      if (lines.line === "") settle(() => reject(new Failure("interrupted", "interrupted")));
      else lines.write(null, ERASE_LINE);
    });
    // The interface of Bun reads nothing more after a suspension: another one continues the line.
    lines.on("SIGTSTP", () => {
      const { line } = lines;
      isOver = true;
      settle(() => {});
      void stderr.write("\n").then(() => {
        suspendJob();
        resolve(readLine({ stdin, stderr }, history, signal, { question, typed: line }));
      });
    });
    // What comes next must not stand in the echo of the line.
    lines.on("line", (line) => {
      isOver = true;
      settle(() => output.write("", () => resolve(line)));
    });
    lines.on("close", () => {
      if (!isOver) settle(() => resolve(undefined));
    });
    lines.setPrompt(question);
    lines.prompt();
    if (typed !== "") lines.write(typed);
  });
}

/** `readline` needs a stream of Node.js. */
function writableTo(output: Output): Writable & { readonly columns: number } {
  const stream = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      void output.write(chunk).then(() => done());
    },
  });
  return Object.assign(stream, { columns: output.columns });
}
