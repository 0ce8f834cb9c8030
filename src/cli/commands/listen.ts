import { startDeadline } from "../../base/async.ts";
import { jsonLine, escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { Output } from "../../base/host.ts";
import { imageTypeOf } from "../../base/images.ts";
import type {
  Requester,
  Watched,
  WatchedMessage,
  WatchOptions,
  WatchedConnection,
} from "../../mqtt/contract.ts";
import { outputFormat, type OutputFormat } from "../args/flags.ts";
import { checkedClientId, writeRaw } from "../ask.ts";
import { loadChannel } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { formatDuration } from "../duration.ts";
import { createPaint, isColoured, type Paint } from "../terminal/colour.ts";
import { createWatchLines } from "../terminal/watch-lines.ts";

/** `picoclaw listen [client…]`: prints requests and responses as they arrive. */
export async function run(context: Context): Promise<number> {
  const { host, words, flags, signal } = context;
  const form = outputFormat(flags);
  const only = flags.choice("only");
  const what = {
    clients: words.map(checkedClientId),
    requests: only !== "responses",
    responses: only !== "requests",
  };
  const log = await createCommandLog(context);
  const channel = await loadChannel(context, log);
  const { openRequester } = await import("../../mqtt/requester/requester.ts");
  const requester = await openRequester({
    channel,
    connectTimeoutMs: flags.duration("connect-timeout"),
    log,
    signal,
  });
  const paint = createPaint(isColoured(host.stdout, host.env, flags));
  try {
    await watch({
      requester,
      what,
      count: flags.count("count"),
      forMs: flags.limit("for"),
      print: createWatchPrinter(form, { stdout: host.stdout, stderr: host.stderr, paint }),
      signal,
    });
  } finally {
    await requester.close();
  }
  return 0;
}

export interface WatchRun {
  readonly requester: Pick<Requester, "watch">;
  readonly what: Omit<WatchOptions, "signal">;
  /** Ends after so many messages. */
  readonly count: number | undefined;
  /** Ends after so many milliseconds. */
  readonly forMs: number | undefined;
  readonly print: (watched: Watched) => Promise<void>;
  readonly signal: AbortSignal;
}

/**
 * Prints messages until `count` is reached, the time is over or the signal is aborted. Throws `no_answer` if
 * the time is over before `count` is reached, and the signal's reason unless it is Ctrl-C.
 */
export async function watch(watchRun: WatchRun): Promise<void> {
  const { signal, count = Number.POSITIVE_INFINITY } = watchRun;
  const deadline = startDeadline(watchRun.forMs ?? Number.POSITIVE_INFINITY, { parent: signal });
  const progress = { seen: 0 };
  try {
    await printAll(watchRun, deadline.signal, progress);
  } catch (thrown) {
    if (!deadline.signal.aborted) throw thrown;
  } finally {
    deadline.close();
  }
  if (progress.seen < count) checkEnd(watchRun, deadline.isOver(), progress.seen);
}

async function printAll(
  { requester, what, count, print }: WatchRun,
  signal: AbortSignal,
  progress: { seen: number },
): Promise<void> {
  for await (const watched of requester.watch({ ...what, signal })) {
    await print(watched);
    if (watched.type === "message") progress.seen += 1;
    if (progress.seen === count) break;
  }
}

function checkEnd({ signal, count, forMs = 0 }: WatchRun, isOver: boolean, seen: number): void {
  if (signal.aborted) {
    if (signal.reason instanceof Failure && signal.reason.code === "interrupted") return;
    throw signal.reason;
  }
  if (!isOver) throw new Failure("unreachable", "the connection to the broker has ended");
  if (count === undefined) return;
  throw new Failure(
    "no_answer",
    `${seen} of ${count} messages arrived in ${formatDuration(forMs)}`,
  );
}

interface WatchStreams {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly paint: Paint;
}

/** Prints messages on stdout in the given format, and notes about the connection on stderr. */
export function createWatchPrinter(
  form: OutputFormat,
  { stdout, stderr, paint }: WatchStreams,
): WatchRun["print"] {
  const terminalLines = createWatchLines({ paint, columns: () => stdout.columns, textOf });
  const line = (message: WatchedMessage) =>
    stdout.isTTY ? terminalLines(message) : pipedLine(message);
  return async (watched) => {
    if (watched.type === "connection") await stderr.write(connectionNote(watched));
    if (form === "json") await stdout.write(watchedJson(watched));
    else if (watched.type === "message" && form === "raw") await writeRaw(stdout, watched.payload);
    else if (watched.type === "message") await stdout.write(line(watched));
  };
}

/** A message as a line for scripts: time, client, direction and text, separated by tabs. */
export function pipedLine(message: WatchedMessage): string {
  const { time, client, push } = message;
  const direction = push ? "push" : message.direction;
  return `${[time.toISOString(), escapedText(client), direction, escapedText(textOf(message))].join("\t")}\n`;
}

/** A message, or a change of the connection, as one line of JSON. */
function watchedJson(watched: Watched): string {
  const { type, time } = watched;
  const facts = watched.type === "message" ? messageFacts(watched) : connectionFacts(watched);
  return jsonLine({ v: 1, type, time: time.toISOString(), ...facts });
}

function messageFacts(message: WatchedMessage): object {
  const { client, direction, text, id, push, seq, done, error, retained } = message;
  return {
    client,
    direction,
    text,
    id,
    push,
    seq,
    done,
    error: error && { code: error.code, retry_after: error.retryAfter },
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

function connectionFacts({ state, broker, reason, gapMs }: WatchedConnection): object {
  return { state, broker, reason, gap_ms: gapMs };
}

/** A note about the connection, for people. */
function connectionNote({ state, broker, reason, gapMs }: WatchedConnection): string {
  const to = broker === undefined ? "" : ` to ${escapeControl(broker)}`;
  const why = reason === undefined ? "" : `: ${escapeControl(reason)}`;
  if (state === "connected") return `note: connected${to}; press Ctrl-C to end\n`;
  if (state === "lost") return `note: disconnected${why}; reconnecting\n`;
  const unseen =
    gapMs === undefined ? "" : `; messages of the last ${formatDuration(gapMs)} may be missing`;
  return `note: reconnected${to}${unseen}\n`;
}

/** A payload that is an image is named, not printed. */
function textOf({ text, payload }: WatchedMessage): string {
  if (text !== undefined) return text;
  const mediaType = imageTypeOf(payload);
  if (mediaType !== undefined) return `[${mediaType}, ${payload.length} bytes]`;
  return new TextDecoder().decode(payload);
}

/** Escapes control characters and backslashes, so that the line can be decoded. */
function escapedText(text: string): string {
  return escapeControl(text.replaceAll("\\", "\\\\"));
}
