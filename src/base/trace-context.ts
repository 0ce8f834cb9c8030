/** A span of another program, in which ours begin. */
export interface TraceParent {
  readonly traceId: string;
  readonly spanId: string;
  /** Whether the other program records its spans. */
  readonly isSampled: boolean;
}

/** A version that is not known may have more behind it. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;
/** Characters of version 00. */
const LENGTH = 55;

/** Reads a `traceparent` (W3C Trace Context, section 3.2); undefined for a text that is none. */
export function traceParentOf(text: string): TraceParent | undefined {
  const [, version, traceId = "", spanId = "", flags = ""] = TRACEPARENT.exec(text) ?? [];
  if (version === undefined || version === "ff") return undefined;
  if (version === "00" && text.length > LENGTH) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 };
}
