import type { Log } from "../base/log.ts";
import type { Clock } from "./clock.ts";

export interface RepliesOptions {
  readonly clock: Pick<Clock, "after">;
  readonly log: Log;
  /** Replies on their way to one client, and to all. */
  readonly perLane: number;
  readonly inAll: number;
}

/** Replies outside the lanes: refusals and repeated answers. A flood of them costs bounded memory. */
export interface Replies {
  /**
   * Resolves when the reply was sent. While too many are on their way one that has `patience` waits for
   * its turn (whoever asked is not acknowledged before that), any other is dropped. `reply` must not reject.
   */
  send(lane: string, reply: () => Promise<void>, patience: boolean): Promise<void>;
  /** Tells what was not sent so far; no timer stays. */
  close(): void;
}

interface Patient {
  readonly lane: string;
  readonly begin: () => void;
}

const TELL_EVERY_MS = 60_000;

export function createReplies({ clock, log, perLane, inAll }: RepliesOptions): Replies {
  const underWay = new Map<string, number>();
  let total = 0;
  let dropped = 0;
  let closed = false;
  let callOff: (() => void) | undefined;
  /** In the order in which they came. */
  const patient: Patient[] = [];
  const hasRoom = (lane: string): boolean => total < inAll && (underWay.get(lane) ?? 0) < perLane;

  const tell = (): void => {
    callOff?.();
    callOff = undefined;
    if (dropped === 0) return;
    log.warn("replies not sent: too many were on their way already", { count: dropped });
    dropped = 0;
  };
  const drop = (): void => {
    dropped++;
    if (!closed) callOff ??= clock.after(TELL_EVERY_MS, tell);
  };
  const track = async (lane: string, reply: () => Promise<void>): Promise<void> => {
    total++;
    underWay.set(lane, (underWay.get(lane) ?? 0) + 1);
    await reply();
    total--;
    const left = (underWay.get(lane) ?? 0) - 1;
    if (left > 0) underWay.set(lane, left);
    else underWay.delete(lane);
    const next = patient.findIndex((each) => hasRoom(each.lane));
    if (next !== -1 && !closed) patient.splice(next, 1)[0]?.begin();
  };

  return {
    send(lane, reply, patience) {
      if (hasRoom(lane)) return track(lane, reply);
      if (patience) {
        return new Promise((resolve) => {
          patient.push({ lane, begin: () => void track(lane, reply).then(resolve) });
        });
      }
      drop();
      return Promise.resolve();
    },
    close() {
      closed = true;
      tell();
    },
  };
}
