const hasCollector = "Bun" in globalThis;

/** Bytes that the heap holds; what nobody holds any more is collected before, where that can be asked for. */
export function heldBytes(): number {
  if (hasCollector) Bun.gc(true);
  return process.memoryUsage().heapUsed;
}

/** A bound on growth in MiB: where the collector cannot be asked, what the test itself made is among it. */
export function atMost(mebibytes: number): number {
  return (hasCollector ? mebibytes : mebibytes + 100) * 2 ** 20;
}
