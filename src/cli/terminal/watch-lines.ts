import { escapeControl } from "../../base/escape-control.ts";
import type { WatchedMessage } from "../../mqtt/contract.ts";
import type { Paint } from "./colour.ts";
import { columnsOf, fitted } from "./width.ts";
import { wrapped } from "./word-wrap.ts";

export interface WatchLinesOptions {
  readonly paint: Paint;
  /** The width of the terminal. */
  readonly columns: () => number;
  /** The text of a message, also of one that is not JSON. */
  readonly textOf: (message: WatchedMessage) => string;
}

/** Requests whose answer is expected: of those that never get one, the oldest are forgotten. */
const MAX_OPEN = 1000;
/** Columns below which a text begins on a new line. */
const MIN_TEXT = 16;
const MIN_CLIENT = 8;
const MAX_CLIENT = 16;

/**
 * A message as lines for people: local time, client, what it is and its text, whose further lines begin in the
 * same column, so that no text can forge a message. The end of an answer has the time since its request.
 */
export function createWatchLines(options: WatchLinesOptions): (message: WatchedMessage) => string {
  const openSince = createRequestTimes();
  let clientColumns = 0;
  return (message) => {
    const columns = options.columns();
    const widest = Math.max(MIN_CLIENT, Math.min(MAX_CLIENT, Math.floor(columns / 4)));
    const client = fitted(escapeControl(message.client), widest);
    clientColumns = Math.min(widest, Math.max(clientColumns, columnsOf(client)));
    const { mark, colour } = kindOf(message, options.paint);
    const padding = " ".repeat(Math.max(0, clientColumns - columnsOf(client)));
    const { dim, bold } = options.paint;
    const prefix = `${dim(localTime(message.time))} ${bold(client)}${padding} ${colour(mark)}`;
    const indent = "hh:mm:ss ".length + clientColumns + " > ".length;
    const text = `${shownText(message, options)}${elapsed(message, openSince)}`;
    if (columns - indent < MIN_TEXT) return `${prefix}\n  ${colour(wrapped(text, columns, 2))}\n`;
    return `${prefix} ${colour(wrapped(text, columns, indent))}\n`;
  };
}

type Kind = { readonly mark: string; readonly colour: (text: string) => string };

/** Whether more of the answer follows. A gateway that does not number its parts sends whole answers. */
function isPart({ direction, error, seq, done }: WatchedMessage): boolean {
  return direction === "response" && error === undefined && seq !== undefined && !done;
}

function kindOf(message: WatchedMessage, paint: Paint): Kind {
  if (message.direction === "request") return { mark: ">", colour: paint.cyan };
  if (message.error !== undefined) return { mark: "!", colour: paint.red };
  if (isPart(message)) return { mark: "·", colour: (text) => text };
  if (message.push) return { mark: "*", colour: paint.yellow };
  return { mark: "<", colour: paint.green };
}

function shownText(message: WatchedMessage, { textOf }: WatchLinesOptions): string {
  const lines = textOf(message).split("\n");
  const text = lines.map((line) => escapeControl(line)).join("\n");
  const { error } = message;
  if (error !== undefined) return `${text} (${escapeControl(errorFacts(error))})`;
  return text === "" && isPart(message) ? "(still working)" : text;
}

function errorFacts({ code, retryAfter }: NonNullable<WatchedMessage["error"]>): string {
  return retryAfter === undefined ? code : `${code}, again in ${retryAfter} s`;
}

interface RequestTimes {
  readonly begin: (key: string, time: number) => void;
  readonly end: (key: string) => number | undefined;
}

function createRequestTimes(): RequestTimes {
  const times = new Map<string, number>();
  return {
    begin(key, time) {
      times.delete(key);
      times.set(key, time);
      const [oldest] = times.keys();
      if (times.size > MAX_OPEN && oldest !== undefined) times.delete(oldest);
    },
    end(key) {
      const time = times.get(key);
      times.delete(key);
      return time;
    },
  };
}

/** The time from a request to the end of its answer, to be put after the text; "" for other messages. */
function elapsed(message: WatchedMessage, times: RequestTimes): string {
  const { client, id, direction } = message;
  const key = JSON.stringify([client, id]);
  const time = message.time.getTime();
  if (direction === "request") times.begin(key, time);
  if (direction === "request" || isPart(message)) return "";
  const begun = times.end(key);
  return begun === undefined ? "" : ` (${((time - begun) / 1000).toFixed(1)} s)`;
}

function localTime(time: Date): string {
  return [time.getHours(), time.getMinutes(), time.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}
