import { randomUUID } from "node:crypto";
import { escapeControl } from "../../../base/escape-control.ts";
import { truncate } from "../../../base/truncate.ts";
import { RefusedCall, ToolError } from "../contract.ts";
import { realWorkspace } from "../files/locate.ts";
import { lastWholeEnd } from "../files/text.ts";
import type { Ending, PreparedCommand, Running } from "./command.ts";
import { startCommand, endingText } from "./command.ts";
import type { ExecInput } from "./input.ts";
import { keysOf } from "./input.ts";
import { createRingBuffer, MAX_SHOWN, readable } from "./output.ts";
import type { RingBuffer } from "./output.ts";
import { checkCommand } from "./policy/policy.ts";
import type { PolicyOptions } from "./policy/policy.ts";

/** A command that outlives the call that started it. */
export interface Session {
  readonly id: string;
  /** Whoever started it, as in `CallContext`. */
  readonly owner: string;
  readonly command: string;
  readonly cwd: string;
  readonly running: Running;
  /** Its output that was not read yet. */
  readonly output: RingBuffer;
  /** Milliseconds, by `now`. */
  readonly startedAt: number;
  ended?: { readonly at: number; readonly how: Ending };
  /** Its input since the last line break: a line may come in pieces. */
  line: string;
}

const MAX_PER_CLIENT = 8;
const MAX_SESSIONS = 32;
/** Bytes of unread output. */
const OUTPUT_BYTES = 1024 * 1024;
/** Milliseconds in which an ended session can still be read. */
const ENDED_MS = 30 * 60_000;

/** The commands in the background of all clients. */
export class Sessions {
  readonly #now: () => number;
  readonly #sessions = new Map<string, Session>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Starts a session. Throws a `ToolError` if there can be no more. */
  open(owner: string, start: PreparedCommand): Session {
    if (!this.#hasRoom(this.of(owner), MAX_PER_CLIENT)) {
      throw new ToolError(
        `${MAX_PER_CLIENT} sessions of yours already run; kill one of them first`,
      );
    }
    if (!this.#hasRoom([...this.#sessions.values()], MAX_SESSIONS)) {
      throw new ToolError(
        `${MAX_SESSIONS} sessions already run, which is the limit; try again later`,
      );
    }
    const session = startSession(owner, start, this.#now);
    this.#sessions.set(session.id, session);
    return session;
  }

  /** Whether one more session fits. Removes the one that ended first if it must. */
  #hasRoom(existing: readonly Session[], max: number): boolean {
    if (existing.length < max) return true;
    const [oldest] = existing
      .filter(({ ended }) => ended !== undefined)
      .toSorted((left, right) => (left.ended?.at ?? 0) - (right.ended?.at ?? 0));
    return oldest !== undefined && this.#sessions.delete(oldest.id);
  }

  /** The sessions of one owner. Forgets those that ended long ago. */
  of(owner: string): readonly Session[] {
    for (const { id, ended } of this.#sessions.values()) {
      if (ended !== undefined && this.#now() - ended.at >= ENDED_MS) this.#sessions.delete(id);
    }
    return [...this.#sessions.values()].filter((session) => session.owner === owner);
  }

  /** Ends all that run. */
  async close(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map(({ running }) => running.stop()));
    this.#sessions.clear();
  }
}

function startSession(owner: string, start: PreparedCommand, now: () => number): Session {
  const output = createRingBuffer(OUTPUT_BYTES);
  const running = startCommand({
    ...start,
    hasInput: true,
    onOutput: (bytes) => output.push(bytes),
  });
  const session: Session = {
    id: randomUUID().slice(0, 8),
    owner,
    command: start.command,
    cwd: start.cwd,
    running,
    output,
    startedAt: now(),
    line: "",
  };
  void running.ended.then((how) => (session.ended = { at: now(), how }));
  return session;
}

type SessionAction = Exclude<NonNullable<ExecInput["action"]>, "run" | "list">;
/** The rules for what is written to a command. */
type InputRules = Pick<PolicyOptions, "workspace" | "settings" | "restrict">;

/** Characters of the last line that the policy checks together with the next input: a line may come in pieces. */
const MAX_LINE = 10_000;
/** Characters of a command in a list. */
const MAX_COMMAND = 100;
const NEW_LINE = 0x0a;

/** Runs an action on a command in the background and returns its result. */
export async function runSessionAction(
  session: Session,
  input: ExecInput & { readonly action: SessionAction },
  rules: InputRules,
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

async function writeTo(session: Session, text: string, rules: InputRules): Promise<string> {
  if (text === "") throw new ToolError("there is nothing to write");
  if (session.ended !== undefined) throw new ToolError(`${session.id} has already ended`);
  const line = session.line + text;
  const workspace = await realWorkspace(rules.workspace);
  const { cwd } = session;
  const blocked = await checkCommand(line, { ...rules, workspace, cwd, isInput: true });
  if (blocked !== undefined) throw new RefusedCall(blocked);
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
