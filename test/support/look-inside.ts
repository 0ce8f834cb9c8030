import { heapStats } from "bun:jsc";
import { EventEmitter } from "node:events";
import { renameSync, writeFileSync } from "node:fs";

/**
 * Preloaded into Bun: at SIGUSR2 it writes what lives in the process into the file that LOOK_INSIDE names.
 * With it a lost connection is made anew after 20 ms and not after 5 s, and what is written every 20 s is
 * written every 2 s.
 */
const file = process.env["LOOK_INSIDE"] ?? "";

/** Numbers by name. */
export type Counts = Readonly<Record<string, number>>;

export interface Inside {
  /** Objects by class, after a collection. */
  readonly objects: Counts;
  /** Listeners by the emitter's class and the event. */
  readonly listeners: Counts;
  readonly heapBytes: number;
}

/** Who was ever listened to. */
const sources = new Set<WeakRef<object>>();
const known = new WeakSet();
/** Event targets do not tell who listens. */
const listening = new WeakMap<EventTarget, Map<string, Set<unknown>>>();

function remember(source: object): void {
  if (known.has(source)) return;
  known.add(source);
  sources.add(new WeakRef(source));
}

for (const name of ["on", "addListener", "once", "prependListener"] as const) {
  const listen = EventEmitter.prototype[name];
  EventEmitter.prototype[name] = function (...words) {
    remember(this);
    return listen.apply(this, words);
  };
}

const listen = Reflect.get(EventTarget.prototype, "addEventListener");
const stopListening = Reflect.get(EventTarget.prototype, "removeEventListener");
type Listening = Parameters<EventTarget["addEventListener"]>;
EventTarget.prototype.addEventListener = function (...words: Listening) {
  remember(this);
  const [type, listener] = words;
  const types = listening.get(this) ?? new Map<string, Set<unknown>>();
  types.set(type, (types.get(type) ?? new Set()).add(listener));
  listening.set(this, types);
  listen.apply(this, words);
};
EventTarget.prototype.removeEventListener = function (...words: Listening) {
  const [type, listener] = words;
  listening.get(this)?.get(type)?.delete(listener);
  stopListening.apply(this, words);
};

const startTimer = globalThis.setTimeout;
/** Before a reconnect: the one timer of exactly that time that only resolves a promise. */
const RECONNECT_MS = 5_000;
const SOON_MS = 20;
/** Between two rounds of maintenance. */
const MAINTENANCE_MS = 20_000;
const OFTEN_MS = 2_000;

function quicker(run: unknown, milliseconds?: number): number | undefined {
  if (milliseconds === MAINTENANCE_MS) return OFTEN_MS;
  const isReconnect = milliseconds === RECONNECT_MS && String(run).includes("[native code]");
  return isReconnect ? SOON_MS : milliseconds;
}

globalThis.setTimeout = Object.assign(
  (run: (...words: unknown[]) => void, milliseconds?: number, ...words: unknown[]) =>
    startTimer(run, quicker(run, milliseconds), ...words),
  startTimer,
);

process.on("SIGUSR2", () => {
  Bun.gc(true);
  const listeners = listenersNow();
  // Weak references hold what they gave until this turn of the event loop is over.
  startTimer(() => {
    Bun.gc(true);
    const { objectTypeCounts: objects, heapSize: heapBytes } = heapStats();
    const inside: Inside = { objects, listeners, heapBytes };
    writeFileSync(`${file}.part`, JSON.stringify(inside));
    renameSync(`${file}.part`, file);
  }, SOON_MS);
});

function listenersNow(): Counts {
  const counts: Record<string, number> = {};
  const add = (source: object, event: string | symbol, count: number): void => {
    if (count === 0) return;
    const name = `${source.constructor.name} ${String(event)}`;
    counts[name] = (counts[name] ?? 0) + count;
  };
  for (const reference of sources) {
    const source = reference.deref();
    if (source === undefined) sources.delete(reference);
    else if (source instanceof EventEmitter) {
      for (const event of source.eventNames()) add(source, event, source.listenerCount(event));
    } else if (source instanceof EventTarget) {
      for (const [type, all] of listening.get(source) ?? []) add(source, type, all.size);
    }
  }
  for (const event of process.eventNames()) add(process, event, process.listenerCount(event));
  return counts;
}
