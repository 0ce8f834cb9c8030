import { randomUUID } from "node:crypto";
import type { Ending, Running, Start } from "./command.ts";
import { startCommand } from "./command.ts";
import { createRingBuffer } from "./output.ts";
import type { RingBuffer } from "./output.ts";

/** A command that outlives the call that started it. */
export interface Session {
  readonly id: string;
  /** Whoever started it, as in `CallContext`. */
  readonly owner: string;
  readonly command: string;
  readonly hasTerminal: boolean;
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

/** The commands in the background of all clients. */
export interface Sessions {
  /** Starts a session, or returns why there can be no more. */
  open(owner: string, start: SessionStart): Session | string;
  /** The sessions of one owner. */
  of(owner: string): readonly Session[];
  close(): Promise<void>;
}

export type SessionStart = Omit<Start, "onOutput" | "hasInput">;

const MAX_PER_CLIENT = 8;
const MAX_SESSIONS = 32;
/** Bytes of unread output. */
const OUTPUT_BYTES = 1024 * 1024;
/** Milliseconds in which an ended session can still be read. */
const ENDED_MS = 30 * 60_000;

/** Starts without sessions. `close` ends all that run. */
export function createSessions(now: () => number): Sessions {
  const sessions = new Map<string, Session>();
  const forget = (): void => {
    for (const { id, ended } of sessions.values()) {
      if (ended !== undefined && now() - ended.at >= ENDED_MS) sessions.delete(id);
    }
  };
  const of = (owner: string): Session[] => {
    forget();
    return [...sessions.values()].filter((session) => session.owner === owner);
  };
  /** Whether one more session fits. Removes the one that ended first if it must. */
  const hasRoom = (existing: readonly Session[], max: number): boolean => {
    if (existing.length < max) return true;
    const [oldest] = existing
      .filter(({ ended }) => ended !== undefined)
      .toSorted((left, right) => (left.ended?.at ?? 0) - (right.ended?.at ?? 0));
    return oldest !== undefined && sessions.delete(oldest.id);
  };
  return {
    open(owner, start) {
      if (!hasRoom(of(owner), MAX_PER_CLIENT)) {
        return `${MAX_PER_CLIENT} sessions of yours already run; kill one of them first`;
      }
      if (!hasRoom([...sessions.values()], MAX_SESSIONS)) {
        return `${MAX_SESSIONS} sessions already run, which is the limit; try again later`;
      }
      const session = startSession(owner, start, now);
      sessions.set(session.id, session);
      return session;
    },
    of,
    async close() {
      await Promise.all([...sessions.values()].map(({ running }) => running.stop()));
      sessions.clear();
    },
  };
}

function startSession(owner: string, start: SessionStart, now: () => number): Session {
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
    hasTerminal: start.terminal !== undefined,
    cwd: start.cwd,
    running,
    output,
    startedAt: now(),
    line: "",
  };
  void running.ended.then((how) => (session.ended = { at: now(), how }));
  return session;
}
