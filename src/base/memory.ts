import { collectGarbage, dropCode, heapBytes, residentBytes } from "./host.ts";

/** How often memory is looked at while there is work. */
const LOOK_MS = 100;
/** How long after the last work. Long enough for the messages of a flood to be processed. */
const QUIET_MS = 10_000;
/**
 * Pauses after a collection, as a multiple of its time: under load a tenth of the CPU goes to collections at most.
 * In a flood there are none, since its garbage grows faster than that.
 */
const PAUSES = 9;
/** Growth of the heap since the last collection that is worth one: it holds up everything for milliseconds. */
const GROWN_HEAP = 1.3;
/** Growth of the process that is worth one in a flood. In other work most of that is compiled code. */
const GROWN_BYTES = 8 * 2 ** 20;

/** One for the process, whose memory it is about. */
const watch = {
  timer: undefined as ReturnType<typeof setInterval> | undefined,
  until: 0,
  floodUntil: 0,
  /** When memory is looked at again. */
  next: 0,
  /** Bytes after the last collection, or less where some were given back since. */
  resident: 0,
  heap: 0,
  /** Resident bytes at the end of the last work. */
  quiet: 0,
};

/**
 * Keeps the process small around work that begins now, or a flood of it; call it often. Left alone, the
 * runtimes let garbage grow to several times the memory in use and never give it back. While there is work,
 * garbage is collected as soon as there is some; after it, what it left is given back to the system.
 */
export function keepMemorySmall(isFlood = false): void {
  watch.until = performance.now() + QUIET_MS;
  if (isFlood) watch.floodUntil = watch.until;
  watch.timer ??= startWatching();
}

function startWatching(): ReturnType<typeof setInterval> {
  watch.quiet ||= residentBytes();
  const timer = setInterval(look, LOOK_MS);
  timer.unref();
  return timer;
}

function look(): void {
  const now = performance.now();
  if (now < watch.next) return;
  const resident = residentBytes();
  const heap = heapBytes();
  watch.resident = Math.min(watch.resident || resident, resident);
  watch.heap = Math.min(watch.heap || heap, heap);
  const isFlood = now < watch.floodUntil;
  const isGrown = isFlood && resident - watch.resident > GROWN_BYTES;
  if (isGrown || heap > watch.heap * GROWN_HEAP) {
    collectGarbage();
    const then = performance.now();
    watch.next = isFlood ? then : then + PAUSES * (then - now);
    watch.resident = residentBytes();
    watch.heap = heapBytes();
  }
  if (now >= watch.until) end();
}

function end(): void {
  clearInterval(watch.timer);
  watch.timer = undefined;
  if (residentBytes() - watch.quiet < GROWN_BYTES) return;
  dropCode();
  collectGarbage();
  watch.quiet = residentBytes();
}
