import { jsonLine } from "../base/escape-control.ts";
import { escapeControl } from "../base/escape-control.ts";
import type { Watched, WatchedConnection, WatchedMessage } from "../mqtt/contract.ts";
import type { Paint } from "./colour.ts";
import { formatDuration } from "./duration.ts";

/** A message as a line for scripts: time, client, direction and text, separated by tabs. */
export function pipedLine(message: WatchedMessage): string {
  const { time, client, direction } = message;
  return `${[time.toISOString(), escaped(client), direction, escaped(textOf(message))].join("\t")}\n`;
}

/** A message as a line for people: in columns, coloured by direction. */
export function terminalLine(message: WatchedMessage, paint: Paint): string {
  const { time, client, direction } = message;
  const colour = direction === "request" ? paint.cyan : paint.green;
  const text = escaped(textOf(message));
  const columns = [
    paint.dim(time.toISOString()),
    paint.bold(escaped(client).padEnd(16)),
    colour(direction.padEnd("response".length)),
    message.error === undefined ? text : paint.red(text),
  ];
  return `${columns.join("  ")}\n`;
}

/** A message, or a change of the connection, as one line of JSON. */
export function watchedJson(watched: Watched): string {
  const { type, time } = watched;
  const facts = watched.type === "message" ? messageFacts(watched) : connectionFacts(watched);
  return jsonLine({ v: 1, type, time: time.toISOString(), ...facts });
}

function messageFacts(message: WatchedMessage): object {
  const { client, direction, text, id, seq, done, error, retained } = message;
  return {
    client,
    direction,
    text,
    id,
    seq,
    done,
    ...(error === undefined ? {} : { error: { code: error.code, retry_after: error.retryAfter } }),
    retained,
    ...(text === undefined ? payloadFacts(message.payload) : {}),
  };
}

/** The whole payload of a message that does not follow the wire format; as text if it is UTF-8. */
function payloadFacts(payload: Uint8Array): object {
  try {
    return { payload: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload) };
  } catch {
    return { payload_base64: Buffer.from(payload).toString("base64") };
  }
}

function connectionFacts({ state, reason, gapMs }: WatchedConnection): object {
  return { state, reason, gap_ms: gapMs };
}

/** A note about the connection, for people. */
export function connectionNote({ state, reason, gapMs }: WatchedConnection): string {
  const why = reason === undefined ? "" : ` (${escapeControl(reason)})`;
  if (state === "connected") return "note: connected; press Ctrl-C to end\n";
  if (state === "lost") return `note: lost the connection to the broker${why}; reconnecting\n`;
  const unseen =
    gapMs === undefined ? "" : `; messages of the last ${formatDuration(gapMs)} may be missing`;
  return `note: reconnected${unseen}\n`;
}

function textOf({ text, payload }: WatchedMessage): string {
  return text ?? new TextDecoder().decode(payload);
}

/** Escapes control characters and backslashes, so that the line can be decoded. */
function escaped(text: string): string {
  return escapeControl(text.replaceAll("\\", "\\\\"));
}
