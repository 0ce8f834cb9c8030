import { randomUUID } from "node:crypto";
import type { Ending, Running, Start } from "./command.ts";
import { startCommand } from "./command.ts";
import { createRingBuffer } from "./output.ts";
import type { RingBuffer } from "./output.ts";

/** A command that runs on after the call that started it. */
export interface Session {
  readonly id: string;
  /** Who started it, as `CallContext` names them. */
  readonly owner: string;
  readonly command: string;
  readonly hasTerminal: boolean;
  readonly cwd: string;
  readonly running: Running;
  /** What it wrote and nobody has read yet. */
  readonly output: RingBuffer;
  /** Milliseconds, as `now` tells them. */
  readonly startedAt: number;
  ended?: { readonly at: number; readonly how: Ending };
  /** What was written to it since the last line break: a line may be written in pieces. */
  line: string;
}

/** The commands in the background, of all clients. */
export interface Sessions {
  /** Starts one; in words why it cannot be. */
  open(owner: string, start: SessionStart): Session | string;
  /** The owner's own; nobody else's. */
  of(owner: string): readonly Session[];
  close(): Promise<void>;
}

export type SessionStart = Omit<Start, "onOutput" | "hasInput">;

const MAX_PER_CLIENT = 8;
const MAX_SESSIONS = 32;
/** Bytes of output that wait to be read. */
const OUTPUT_BYTES = 1024 * 1024;
/** Milliseconds after its end in which a session can be asked for. */
const ENDED_MS = 30 * 60_000;

/** No sessions yet; `close` ends all that run by then. */
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
  /** Whether there is room for one more, where need be in the place of the one that ended first. */
  const hasRoom = (known: readonly Session[], most: number): boolean => {
    if (known.length < most) return true;
    const [oldest] = known
      .filter(({ ended }) => ended !== undefined)
      .toSorted((left, right) => (left.ended?.at ?? 0) - (right.ended?.at ?? 0));
    return oldest !== undefined && sessions.delete(oldest.id);
  };
  return {
    open(owner, start) {
      if (!hasRoom(of(owner), MAX_PER_CLIENT)) {
        return `${MAX_PER_CLIENT} sessions of yours run already; kill one of them first`;
      }
      if (!hasRoom([...sessions.values()], MAX_SESSIONS)) {
        return `${MAX_SESSIONS} sessions run already, which is all there can be; try again later`;
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
