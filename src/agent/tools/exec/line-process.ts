import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { platform } from "node:os";
import type { Readable } from "node:stream";
import { settlesWithin } from "../../../base/async.ts";
import { escapeControl } from "../../../base/escape-control.ts";
import { readPaced } from "./output.ts";
import { endTree, MARK, treeOf } from "./process-tree.ts";
import type { ProcessTree } from "./process-tree.ts";

export interface LineProcessOptions {
  /** The program and its arguments; no shell. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** The folder in which it runs; this program's own if left out. */
  readonly dir?: string | undefined;
  /** Bytes of one line of its output. */
  readonly longestLine: number;
  readonly onLine: (line: string) => void;
  /** Called once for a line that is too long; no more is read. */
  readonly onTooLong: () => void;
}

/** The end of a process. */
export interface ProcessEnd {
  readonly kind: "unstartable" | "died";
  readonly why: string;
  /** The same with the last words of its standard error, on one line for the log. */
  readonly text: string;
}

/** How the reason of a process begins that has run. */
export const ENDED = "it ended with";

/** Milliseconds between the end of its input and a kill. */
const PATIENCE_MS = 1000;
/** Milliseconds for its last output after its end. */
const LAST_OUTPUT_MS = 200;
/** Characters of its last output that are kept. */
const MAX_WORDS = 200;

/**
 * A program of the owner that is spoken to in lines, on standard input and output. It leads a process group, so that
 * Ctrl+C does not end it before this program's last turn has ended.
 */
export class LineProcess {
  /** Resolves when the process has ended or could not start. */
  readonly gone: Promise<ProcessEnd>;
  readonly #child: ChildProcess;
  readonly #tree: ProcessTree;
  #lastOutput = "";
  #stopping: Promise<void> | undefined;

  /** Starts it. If it cannot start, `gone` resolves, or this throws the system's error. */
  constructor(options: LineProcessOptions) {
    const mark = randomUUID();
    this.#child = spawnProcess(options, mark);
    this.#tree = treeOf({ leader: this.#child.pid ?? 0, mark, isSandboxed: false });
    const { stdin, stdout, stderr } = this.#child;
    this.gone = this.#ended();
    stdin?.on("error", () => {
      // The process reads no more. Its end is reported, or its answers time out.
    });
    if (stdout !== null) readLines(stdout, options);
    if (stderr !== null) readPaced(stderr, (bytes) => this.#recordOutput(bytes));
  }

  /** Bytes that the process has not read. */
  get unread(): number {
    return this.#child.stdin?.writableLength ?? 0;
  }

  write(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  /** Closes its input, waits, and ends the process and everything that it started. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopped();
    return this.#stopping;
  }

  async #stopped(): Promise<void> {
    const { pid, stdin, stdout, stderr } = this.#child;
    stdin?.end();
    await settlesWithin(this.gone, PATIENCE_MS);
    if (pid !== undefined) await endTree(this.#tree);
    for (const stream of [stdin, stdout, stderr]) stream?.destroy();
  }

  #ended(): Promise<ProcessEnd> {
    const { promise, resolve } = Promise.withResolvers<ProcessEnd>();
    const child = this.#child;
    child.once("error", ({ message }) =>
      resolve({ kind: "unstartable", why: message, text: escapeControl(message) }),
    );
    child.once("exit", (code, signal) => {
      const why = `${ENDED} ${signal ?? code}`;
      const conclude = (): void => {
        const words = escapeControl(this.#lastOutput.trim());
        const text = words === "" ? why : `${why}; its last output: ${words}`;
        resolve({ kind: "died", why, text });
      };
      // Its last answer may still arrive.
      child.once("close", conclude);
      setTimeout(conclude, LAST_OUTPUT_MS);
    });
    return promise;
  }

  #recordOutput(bytes: Uint8Array): void {
    const last = Buffer.from(bytes.subarray(-MAX_WORDS)).toString();
    this.#lastOutput = `${this.#lastOutput}${last}`.slice(-MAX_WORDS);
  }
}

function spawnProcess({ command, dir, env }: LineProcessOptions, mark: string): ChildProcess {
  const [file = "", ...words] = command;
  return spawn(file, words, {
    env: { ...env, [MARK]: mark },
    detached: platform() !== "win32",
    stdio: ["pipe", "pipe", "pipe"],
    windowsHide: true,
    ...(dir !== undefined && { cwd: dir }),
  });
}

function readLines(stream: Readable, { longestLine, onLine, onTooLong }: LineProcessOptions): void {
  let [pieces, bytes, isOver]: [Uint8Array[], number, boolean] = [[], 0, false];
  const add = (piece: Uint8Array): boolean => {
    bytes += piece.length;
    isOver ||= bytes > longestLine;
    if (!isOver) pieces.push(piece);
    return !isOver;
  };
  readPaced(stream, (chunk) => {
    if (isOver) return;
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      if (!add(chunk.subarray(from, end))) return onTooLong();
      const line = Buffer.concat(pieces).toString("utf8");
      [pieces, bytes, from] = [[], 0, end + 1];
      onLine(line);
    }
    if (!add(chunk.subarray(from))) onTooLong();
  });
}
