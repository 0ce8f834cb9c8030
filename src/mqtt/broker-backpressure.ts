import type { Client } from "aedes";

/** Holds clients up that publish more requests than there is room for: what is not taken is not acknowledged. */
export interface Backpressure {
  /** Calls `goOn` when the request may be taken, at once where it can; never where its sender leaves before. */
  take(request: HeldRequest, goOn: () => void): void;
  /** The session's queue has become shorter. */
  onShorter(session: string): void;
  left(sender: Client): void;
}

interface HeldRequest {
  readonly sender: Client;
  readonly topic: string;
  readonly bytes: number;
}

export interface BackpressureOptions {
  /** The sessions of gateways that a message of that topic is a request for. */
  readonly gatewaysOf: (topic: string) => ReadonlySet<string>;
  readonly takesRequests: (session: string) => boolean;
  /** Adds to the bytes that the broker holds for the client. */
  readonly hold: (client: Client, bytes: number) => void;
  /** Milliseconds of no progress after which nobody waits for a session until it makes some. */
  readonly patienceMs: number;
}

interface Waiting extends HeldRequest {
  readonly goOn: () => void;
}

/** The requests that wait for one session, in order. */
interface Line {
  readonly waiting: Set<Waiting>;
  readonly timer: ReturnType<typeof setTimeout>;
  isAdmitting: boolean;
}

export function createBackpressure(options: BackpressureOptions): Backpressure {
  const { gatewaysOf, takesRequests, hold } = options;
  const lines = new Map<string, Line>();
  const givenUp = new Set<string>();
  const isWaitedFor = (session: string): boolean =>
    !givenUp.has(session) && !takesRequests(session);
  const takes = (session: string): boolean => !lines.has(session) && !isWaitedFor(session);
  const admit = (session: string): void => {
    const line = lines.get(session);
    const [first] = line?.waiting ?? [];
    if (line === undefined || line.isAdmitting) return;
    if (first === undefined) closeLine(lines, session);
    else if (!isWaitedFor(session)) {
      hold(first.sender, -first.bytes);
      // The next one when this is in the queue.
      admitFirst(line, first, () => admit(session));
    }
  };
  const lineOf = (session: string): Line => {
    const line =
      lines.get(session) ??
      openLine(options.patienceMs, () => {
        givenUp.add(session);
        admit(session);
      });
    lines.set(session, line);
    return line;
  };
  return {
    take(request, goOn) {
      const [session, ...others] = gatewaysOf(request.topic);
      // One gateway that takes it is enough.
      if (session === undefined || [session, ...others].some(takes)) return goOn();
      lineOf(session).waiting.add({ ...request, goOn });
      hold(request.sender, request.bytes);
    },
    onShorter(session) {
      givenUp.delete(session);
      lines.get(session)?.timer.refresh();
      admit(session);
    },
    left(sender) {
      for (const [session, { waiting }] of lines) {
        for (const one of waiting) if (one.sender === sender) waiting.delete(one);
        admit(session);
      }
    },
  };
}

function openLine(patienceMs: number, giveUp: () => void): Line {
  const timer = setTimeout(giveUp, patienceMs);
  timer.unref();
  return { waiting: new Set(), timer, isAdmitting: false };
}

function closeLine(lines: Map<string, Line>, session: string): void {
  clearTimeout(lines.get(session)?.timer);
  lines.delete(session);
}

function admitFirst(line: Line, first: Waiting, then: () => void): void {
  line.waiting.delete(first);
  line.isAdmitting = true;
  first.goOn();
  setImmediate(() => {
    line.isAdmitting = false;
    then();
  });
}
