import { escapeControl } from "../../../base/escape-control.ts";
import { truncate } from "../../../base/truncate.ts";
import { ToolError } from "../contract.ts";
import { realWorkspace } from "../files/locate.ts";
import { lastWholeEnd } from "../files/text.ts";
import { assertAllowed } from "./command-setup.ts";
import type { ExecRules } from "./command-setup.ts";
import { endingText } from "./command.ts";
import type { ExecInput } from "./input.ts";
import { keysOf } from "./input.ts";
import { MAX_SHOWN, readable } from "./output.ts";
import type { Session } from "./sessions.ts";

export type SessionAction = "poll" | "read" | "write" | "kill" | "send-keys";

/** Characters of the last line that the policy checks together with the next input: a line may come in pieces. */
const MAX_LINE = 10_000;
/** Characters of a command in a list. */
const MAX_COMMAND = 100;
const NEW_LINE = 0x0a;

/** Runs an action on a command in the background and returns its result. */
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
      return await writeTo(session, keysToText(input.keys ?? ""), rules);
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

function keysToText(names: string): string {
  const { text, unknown } = keysOf(names);
  if (unknown.length > 0) {
    const quoted = unknown.slice(0, 5).map((name) => JSON.stringify(name.slice(0, 40)));
    throw new ToolError(
      `there is no key ${quoted.join(", ")}; keys are Enter, Tab, Escape, Space, Backspace, Up, Down, Left, Right, Home, End, PageUp, PageDown, Insert, Delete, F1 to F4, C-a to C-z; use write for text`,
    );
  }
  return text;
}

async function writeTo(session: Session, text: string, rules: ExecRules): Promise<string> {
  if (text === "") throw new ToolError("there is nothing to write");
  if (session.ended !== undefined) throw new ToolError(`${session.id} has already ended`);
  const line = session.line + text;
  const workspace = await realWorkspace(rules.workspace);
  await assertAllowed(line, { ...rules, workspace, cwd: session.cwd, isInput: true });
  session.line = line.slice(Math.max(line.lastIndexOf("\n"), line.lastIndexOf("\r")) + 1);
  session.line = session.line.slice(-MAX_LINE);
  if (!(await session.running.write(text))) throw new ToolError(`${session.id} reads no input`);
  return `wrote ${text.length} characters to ${session.id}; read shows its output`;
}

/** One line about a session: its id, its state and its command. */
export function sessionText(session: Session, now: number): string {
  const { id, command, output, startedAt, ended } = session;
  const seconds = Math.round(((ended?.at ?? now) - startedAt) / 1000);
  const how = ended === undefined ? `running for ${seconds} s` : `done ${endingText(ended.how)}`;
  return `${id}  ${how}, ${output.size()} bytes to read: ${escapeControl(truncate(command, MAX_COMMAND))}`;
}

/** The output of a session since the last read, its state, and whether there is more. */
function unreadText({ output, ended }: Session): string {
  const isMore = output.size() > MAX_SHOWN;
  const { bytes, lost } = output.take(MAX_SHOWN, (some) => {
    if (isMore) return lineEnd(some);
    // The rest of the last character may still arrive.
    return ended === undefined ? lastWholeEnd(some) : some.length;
  });
  const skipped = lost > 0 ? `(${lost} bytes before were not read in time)\n` : "";
  const text = bytes.length === 0 ? "(nothing new)" : readable(bytes);
  const state = ended === undefined ? "[running]" : endingText(ended.how);
  const more = isMore ? `[${output.size()} bytes more: read again]\n` : "";
  return `${skipped}${text}\n${more}${state}`;
}

/** The end of the last whole line, or of the last whole character if that line is too long. */
function lineEnd(bytes: Uint8Array): number {
  const end = bytes.lastIndexOf(NEW_LINE) + 1;
  return end > bytes.length / 2 ? end : lastWholeEnd(bytes) || bytes.length;
}
