import { escapeControl } from "../../../base/escape-control.ts";
import { truncate } from "../../../base/truncate.ts";
import { FileError } from "../files/errors.ts";
import { realWorkspace } from "../files/locate.ts";
import { lastWholeEnd } from "../files/text.ts";
import { assertAllowed } from "./command-setup.ts";
import type { ExecRules } from "./command-setup.ts";
import type { Ending } from "./command.ts";
import type { ExecInput } from "./input.ts";
import { keysOf } from "./input.ts";
import { MAX_SHOWN, readable } from "./output.ts";
import type { Session } from "./sessions.ts";

export type SessionAction = "poll" | "read" | "write" | "kill" | "send-keys";

/** Characters of a line written in pieces that are looked at together. */
const MAX_LINE = 10_000;

/** Does something with a command in the background. */
export async function runSessionAction(
  session: Session,
  input: ExecInput & { readonly action: SessionAction },
  rules: ExecRules,
  now: number,
): Promise<string> {
  switch (input.action) {
    case "poll":
      return sessionText(session, now);
    case "read":
      return unreadText(session);
    case "write":
      return await writeTo(session, input.data ?? "", rules);
    case "send-keys":
      return await writeTo(session, textOfKeys(input.keys ?? ""), rules);
    case "kill":
      return await killSession(session);
    default:
      return input.action satisfies never;
  }
}

async function killSession({ id, running }: Session): Promise<string> {
  await running.stop();
  return `${id} is done ${endingText(await running.ended)}`;
}

function textOfKeys(names: string): string {
  const { text, unknown } = keysOf(names);
  if (unknown.length > 0) {
    const words = unknown.slice(0, 5).map((name) => JSON.stringify(name.slice(0, 40)));
    throw new FileError(
      `there is no key ${words.join(", ")}; keys are Enter, Tab, Escape, Space, Backspace, Up, Down, Left, Right, Home, End, PageUp, PageDown, Insert, Delete, F1 to F4, C-a to C-z; use write for text`,
    );
  }
  return text;
}

async function writeTo(session: Session, text: string, rules: ExecRules): Promise<string> {
  if (text === "") throw new FileError("there is nothing to write");
  if (session.ended !== undefined) throw new FileError(`${session.id} has ended already`);
  const line = session.line + text;
  const workspace = await realWorkspace(rules.workspace);
  await assertAllowed(line, { ...rules, workspace, cwd: session.cwd, isInput: true });
  session.line = line.slice(Math.max(line.lastIndexOf("\n"), line.lastIndexOf("\r")) + 1);
  session.line = session.line.slice(-MAX_LINE);
  if (!(await session.running.write(text))) throw new FileError(`${session.id} reads no input`);
  return `wrote ${text.length} characters to ${session.id}; read shows what it answers`;
}

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
  return `${id}  ${how}, ${output.size()} bytes to read: ${escapeControl(truncate(command, MAX_COMMAND))}`;
}

/** What a session wrote since it was last read, and how to go on. */
function unreadText({ output, ended }: Session): string {
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
