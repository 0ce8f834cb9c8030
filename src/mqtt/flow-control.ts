import type { MqttClient } from "mqtt";
import type { Log } from "../base/log.ts";
import type { Backlog } from "./backlog.ts";

/** How fast one connection is read. */
export interface FlowControl {
  /** Resolves when more may be read, within seconds; undefined is at once. Never rejects. */
  readonly ready: () => Promise<void> | undefined;
  /** Whether a PUBLISH of QoS 1 or 2 is neither handed over nor acknowledged; counts it then. */
  readonly sheds: () => boolean;
}

interface FlowControlOptions {
  readonly backlog: Backlog;
  /** Seconds; 0 is none. */
  readonly keepAlive: number;
  readonly log: Log;
}

/** A backlog that does not get smaller for so long is of a store that cannot write. */
const STALL_MS = 5_000;
/** Nothing else is read either meanwhile: PINGRESP, SUBACK and the acknowledgements of what we publish. */
const LONGEST_PAUSE_MS = 15_000;

/** How often a connection that sheds looks whether it is still one. */
const RECOVERY_MS = 1_000;
/** A broker that reads nothing gets no acknowledgement either; the rest has this long to leave. */
const FLUSH_MS = 2_000;

/**
 * Reads nothing while the backlog is full, or a little where that takes long. If the backlog does not get
 * smaller, or grows to twice as much nevertheless, reading goes on and messages are shed: the
 * broker holds them, and sends them again on the next connection (MQTT 5 section 4.4), which is made as soon
 * as the backlog has drained. None is handed over behind one that was shed, so that acknowledgements keep
 * the order of receipt (section 4.6).
 */
export function controlFlow(client: MqttClient, options: FlowControlOptions): FlowControl {
  const { backlog, keepAlive, log } = options;
  const keepAliveMs = keepAlive === 0 ? Number.POSITIVE_INFINITY : keepAlive * 1000;
  const state = { isPaused: false, isShedding: false, isOver: false, shed: 0 };
  client.once("close", () => {
    state.isOver = true;
  });
  keepAliveWhile(client, keepAliveMs, () => state.isPaused);
  const recover = async (): Promise<void> => {
    while (!(await backlog.room(RECOVERY_MS))) if (state.isOver) return;
    if (state.isOver) return;
    state.isShedding = state.shed > 0;
    if (!state.isShedding) return;
    log.warn("connecting anew, so that the broker sends what was left with it", {
      messages: state.shed,
    });
    endWhenWritten(client);
  };
  const wait = async (): Promise<void> => {
    state.isPaused = true;
    const isStalled = await pauseUntilRoom(backlog, keepAliveMs);
    state.isPaused = false;
    if (state.isOver || !(isStalled ? backlog.isFull() : backlog.isOverfull())) return;
    state.isShedding = true;
    log.warn("requests wait too long to be stored: further ones are left with the broker");
    void recover();
  };
  return {
    ready: () => (state.isShedding || !backlog.isFull() ? undefined : wait()),
    sheds() {
      if (state.isShedding) state.shed += 1;
      return state.isShedding;
    },
  };
}

/** Resolves when there is room or waiting longer is of no use; says whether the store takes nothing. */
async function pauseUntilRoom(backlog: Backlog, keepAliveMs: number): Promise<boolean> {
  const end = performance.now() + Math.min(LONGEST_PAUSE_MS, keepAliveMs);
  for (;;) {
    const now = performance.now();
    const stalled = backlog.movedAt() + Math.min(STALL_MS, keepAliveMs);
    if (now >= stalled || now >= end) return now >= stalled;
    if (await backlog.room(Math.min(end, stalled) - now)) return false;
  }
}

/** The library takes a PINGRESP that waits behind messages for a lost one: any packet is a sign of life. */
function keepAliveWhile(client: MqttClient, keepAliveMs: number, isPaused: () => boolean): void {
  let heardAt = 0;
  client.on("packetreceive", () => {
    heardAt = performance.now();
  });
  const timedOut = client.onKeepaliveTimeout.bind(client);
  client.onKeepaliveTimeout = () => {
    if (!isPaused() && performance.now() - heardAt > keepAliveMs) timedOut();
    else {
      client.sendPing();
      client.reschedulePing(true);
    }
  };
}

/** Ends the connection when what was said on it has left, acknowledgements above all. */
function endWhenWritten({ stream }: MqttClient): void {
  const end = performance.now() + FLUSH_MS;
  const timer = setInterval(() => {
    if (stream.writableLength > 0 && performance.now() < end) return;
    clearInterval(timer);
    stream.destroy();
  }, 10);
}
