import { escapeControl } from "../../base/escape-control.ts";
import type { Output } from "../../base/host.ts";
import { createWordWrap } from "./word-wrap.ts";

/** Prints the text of an answer as it arrives. */
export interface AnswerText {
  write(text: string): Promise<void>;
  /** Ends the last line. Returns false if there was no text since the last call. */
  end(): Promise<boolean>;
}

/**
 * A pipe gets the text unchanged. On a terminal control characters are escaped and lines are broken between
 * words; with `canErase` also when the end of a word comes later.
 */
export function createAnswerText(stdout: Output, canErase = false): AnswerText {
  const wrap = stdout.isTTY
    ? createWordWrap({ columns: () => stdout.columns, canErase })
    : undefined;
  let last = "";
  return {
    async write(text) {
      last = text || last;
      await stdout.write(wrap?.add(escapeControl(text, "\n\t")) ?? text);
    },
    async end() {
      if (last === "") return false;
      const rest = wrap?.end() ?? "";
      await stdout.write(last.endsWith("\n") ? rest : `${rest}${wrap?.add("\n") ?? "\n"}`);
      last = "";
      return true;
    },
  };
}
