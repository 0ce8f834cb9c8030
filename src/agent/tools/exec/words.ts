import { shortened } from "../../../base/truncate.ts";
import { visible } from "../../../base/visible.ts";
import { lastWholeEnd } from "../files/text.ts";
import { MAX_SHOWN, readable } from "./output.ts";
import type { Session } from "./sessions.ts";
import type { Ending } from "./start.ts";

const NEW_LINE = 0x0a;
/** Characters of a command that a list repeats. */
const MAX_COMMAND = 100;

/** How a command ended, as a line below its output. */
export function endingText({ code, signal, fault, leftSome, note }: Ending): string {
  if (fault !== undefined) return `[could not be started: ${fault}]`;
  const how = signal === null ? `exit code ${code ?? "unknown"}` : `ended by ${signal}`;
  const left = "; processes that it left running were ended, use background for those";
  const why = code !== 0 && note !== undefined ? `; ${note}` : "";
  return `[${how}${leftSome === true ? left : ""}${why}]`;
}

/** A session in a line: what it is and how it is. */
export function sessionText(session: Session, now: number): string {
  const { id, command, output, startedAt, ended } = session;
  const seconds = Math.round(((ended?.at ?? now) - startedAt) / 1000);
  const how = ended === undefined ? `running for ${seconds} s` : `done ${endingText(ended.how)}`;
  return `${id}  ${how}, ${output.size()} bytes to read: ${visible(shortened(command, MAX_COMMAND))}`;
}

/** What a session wrote since it was last read, and how to go on. */
export function unreadText({ output, ended }: Session): string {
  const isMore = output.size() > MAX_SHOWN;
  const { bytes, lost } = output.take(MAX_SHOWN, (some) => {
    if (isMore) return lineEnd(some);
    // What is still to come may be the rest of a character.
    return ended === undefined ? lastWholeEnd(some) : some.length;
  });
  const before = lost > 0 ? `(${lost} bytes before were not read in time)\n` : "";
  const text = bytes.length === 0 ? "(nothing new)" : readable(bytes);
  const state = ended === undefined ? "[running]" : endingText(ended.how);
  const more = isMore ? `[${output.size()} bytes more: read again]\n` : "";
  return `${before}${text}\n${more}${state}`;
}

/** After the last line that is whole; where a line is too long for that, after its last character. */
function lineEnd(bytes: Uint8Array): number {
  const end = bytes.lastIndexOf(NEW_LINE) + 1;
  return end > bytes.length / 2 ? end : lastWholeEnd(bytes) || bytes.length;
}
