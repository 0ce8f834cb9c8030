import { jsonLine } from "../base/escape-control.ts";
import { escapeControl } from "../base/escape-control.ts";
import type { Output } from "../base/host.ts";
import type { AnswerPart } from "../mqtt/contract.ts";
import type { AnswerPrinter } from "./ask.ts";
import type { PrintedForm } from "./line/flags.ts";

export interface AnswerStreams {
  readonly stdout: Output;
  readonly stderr: Output;
}

/** Prints answers in the form that was asked for. */
export function createAnswerPrinter(form: PrintedForm, streams: AnswerStreams): AnswerPrinter {
  if (form === "json") return jsonPrinter(streams.stdout);
  return form === "raw" ? rawPrinter(streams.stdout) : textPrinter(streams);
}

/**
 * The text as it comes, and a newline at the end. On a terminal, controls from the network are shown
 * instead of obeyed; a pipe gets the text as it is. The sentence of an error is not part of it.
 */
function textPrinter({ stdout, stderr }: AnswerStreams): AnswerPrinter {
  let last = "";
  const endLine = async () => {
    if (last !== "" && !last.endsWith("\n")) await stdout.write("\n");
  };
  return {
    async part({ text, restart, error }) {
      if (restart && last !== "") {
        await endLine();
        await stderr.write("note: the answer begins anew; forget what came before\n");
        last = "";
      }
      if (error !== undefined || text === "") return;
      await stdout.write(stdout.isTTY ? escapeControl(text, "\n\t") : text);
      last = text;
    },
    end: endLine,
  };
}

function rawPrinter(stdout: Output): AnswerPrinter {
  return {
    part: ({ payload }) => writeRaw(stdout, payload),
    end: () => Promise.resolve(),
  };
}

/** One payload as it came and a newline, in one write. */
export function writeRaw(stdout: Output, payload: Uint8Array): Promise<void> {
  if (stdout.isTTY)
    return stdout.write(`${escapeControl(new TextDecoder().decode(payload), "\n\t")}\n`);
  return stdout.write(Buffer.concat([payload, Buffer.from("\n")]));
}

function jsonPrinter(stdout: Output): AnswerPrinter {
  return {
    part: (part) => stdout.write(jsonLine(lineOf(part))),
    end: () => Promise.resolve(),
  };
}

function lineOf({ text, seq, restart, done, error }: AnswerPart): object {
  return {
    v: 1,
    type: "part",
    text,
    seq,
    restart,
    done,
    ...(error === undefined ? {} : { error: { code: error.code, retry_after: error.retryAfter } }),
  };
}
