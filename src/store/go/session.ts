import { createReadStream } from "node:fs";
import { lstat, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { asFailure, codeOf } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { StoreBounds } from "../contract/store.ts";
import { fileNameOf } from "./keys.ts";
import type { GoKey } from "./keys.ts";

/** A conversation that Go PicoClaw stored. */
export interface GoSession {
  readonly summary?: Extract<GoMessage, { readonly role: "summary" }>;
  readonly turns: readonly GoTurn[];
}

export interface GoSessionOptions {
  /** `<workspace>/sessions`. */
  readonly folder: string;
  readonly bounds: Pick<StoreBounds, "messages" | "characters">;
  readonly log: Log;
}

/** Bytes of a line; a longer one was not written by Go PicoClaw. */
const LONGEST_LINE = 10 * 2 ** 20;
/** Bytes of a file: all of it is read while a client waits for its answer. */
const LARGEST_FILE = 256 * 2 ** 20;
const LARGEST_META = 2 ** 20;

/**
 * Returns the first session of these keys that is not empty: its latest whole turns within the bounds. The
 * files are only read. Never throws: the log says what cannot be read.
 */
export async function readGoSession(
  keys: readonly GoKey[],
  options: GoSessionOptions,
): Promise<GoSession | undefined> {
  for (const key of keys) {
    try {
      const session = await readSession(key, options);
      if (session !== undefined) return session;
    } catch (error) {
      const { why } = asFailure(error);
      options.log.warn("cannot read a conversation of the Go program", { why });
    }
  }
  return undefined;
}

async function readSession(
  key: GoKey,
  { folder, bounds, log }: GoSessionOptions,
): Promise<GoSession | undefined> {
  const name = fileNameOf(key);
  const file = join(folder, `${name}.jsonl`);
  const size = await sizeOf(file);
  if (size === undefined) return undefined;
  const meta = await readMeta(join(folder, `${name}.meta.json`), log);
  if (key.isAmbiguous && !isOf(key, meta)) return undefined;
  if (size > LARGEST_FILE) {
    log.warn("a conversation of the Go program is too large to import", { file });
    return undefined;
  }
  const { summary: text, skip } = meta ?? { summary: "", skip: 0 };
  const { lines, corrupt } = await readLines(file, skip, bounds);
  if (corrupt > 0)
    log.warn("a conversation of the Go program has corrupt lines", { file, lines: corrupt });
  const turns = turnsOf(lines);
  if (text !== "") return { turns, summary: { role: "summary", text } };
  return turns.length === 0 ? undefined : { turns };
}

/** Bytes of the file; undefined if there is none. A link is not followed: it may lead elsewhere. */
async function sizeOf(file: string): Promise<number | undefined> {
  try {
    const found = await lstat(file);
    return found.isFile() ? found.size : undefined;
  } catch (error) {
    if (isAbsence(codeOf(error))) return undefined;
    throw error;
  }
}

function isAbsence(code: string): boolean {
  return code === "ENOENT" || code === "ENOTDIR" || code === "ENAMETOOLONG";
}

const META = v.object({
  key: v.optional(v.string(), ""),
  summary: v.optional(v.string(), ""),
  skip: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
  aliases: v.optional(v.nullable(v.array(v.string()))),
});

type Meta = v.InferOutput<typeof META>;

async function readMeta(file: string, log: Log): Promise<Meta | undefined> {
  const size = await sizeOf(file);
  if (size === undefined) return undefined;
  try {
    if (size > LARGEST_META) throw new Error("it is too large");
    return v.parse(META, JSON.parse(await readFile(file, "utf8")));
  } catch (error) {
    const { why } = asFailure(error);
    log.warn("the metadata of a conversation of the Go program is corrupt", { file, why });
    return undefined;
  }
}

function isOf({ key }: GoKey, meta: Meta | undefined): boolean {
  const keys = [meta?.key ?? "", ...(meta?.aliases ?? [])];
  return keys.some((each) => each.toLowerCase() === key);
}

interface Lines {
  /** The latest lines that fit. */
  readonly lines: readonly GoLine[];
  /** How many lines were not a message. */
  readonly corrupt: number;
}

/** Reads the lines after the first `skip` ones; empty lines do not count. */
async function readLines(
  file: string,
  skip: number,
  bounds: GoSessionOptions["bounds"],
): Promise<Lines> {
  const lines: { readonly line: GoLine; readonly characters: number }[] = [];
  let [number, corrupt, characters] = [0, 0, 0];
  for await (const text of linesOf(file)) {
    if (text === "") continue;
    number += 1;
    if (number <= skip) continue;
    const line = text === undefined ? undefined : readLine(text);
    if (text === undefined || line === undefined) {
      corrupt += 1;
      continue;
    }
    lines.push({ line, characters: text.length });
    characters += text.length;
    while (lines.length > bounds.messages || characters > bounds.characters) {
      characters -= lines.shift()?.characters ?? 0;
    }
  }
  return { lines: lines.map(({ line }) => line), corrupt };
}

/** Each line of a file, undefined for one that is too long. One line is in memory at a time. */
async function* linesOf(file: string): AsyncGenerator<string | undefined> {
  let pieces: Buffer[] = [];
  let length = 0;
  const add = (piece: Buffer): void => {
    length += piece.length;
    if (length <= LONGEST_LINE) pieces.push(piece);
    else pieces = [];
  };
  const take = (): string | undefined => {
    const text = length > LONGEST_LINE ? undefined : Buffer.concat(pieces).toString("utf8").trim();
    [pieces, length] = [[], 0];
    return text;
  };
  for await (const chunk of createReadStream(file)) {
    let rest = Buffer.from(chunk);
    for (let end = rest.indexOf(10); end !== -1; end = rest.indexOf(10)) {
      add(rest.subarray(0, end));
      yield take();
      rest = rest.subarray(end + 1);
    }
    add(rest);
  }
  if (length > 0) yield take();
}

/** A message as the agent has it. */
export type GoMessage =
  | { readonly role: "summary"; readonly text: string }
  | { readonly role: "user"; readonly text: string }
  | { readonly role: "assistant"; readonly text: string; readonly toolCalls?: readonly Call[] }
  | {
      readonly role: "tool";
      readonly callId: string;
      readonly name: string;
      readonly text: string;
    };

interface Call {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

const text = v.optional(v.nullable(v.string()));

const LINE = v.object({
  role: v.string(),
  content: text,
  created_at: text,
  tool_call_id: text,
  tool_calls: v.optional(
    v.nullable(
      v.array(
        v.object({
          id: text,
          name: text,
          function: v.optional(v.nullable(v.object({ name: text, arguments: text }))),
        }),
      ),
    ),
  ),
});

/** One line of the file of a session. */
type GoLine = v.InferOutput<typeof LINE>;

/** Parses a line; undefined if it is incomplete or not a message. */
function readLine(line: string): GoLine | undefined {
  try {
    const parsed = v.safeParse(LINE, JSON.parse(line));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

interface GoTurn {
  readonly messages: readonly GoMessage[];
  /** Milliseconds since the epoch. */
  readonly at?: number;
}

/**
 * Divides lines into turns, each from a user message on. Drops what has no counterpart: an answer without
 * a question, a tool result without its call, a call without its result.
 */
export function turnsOf(lines: readonly GoLine[]): readonly GoTurn[] {
  const turns: GoLine[][] = [];
  for (const line of lines) {
    if (line.role === "user") turns.push([line]);
    else turns.at(-1)?.push(line);
  }
  return turns.map((turn) => {
    const at = Date.parse(turn[0]?.created_at ?? "");
    const messages = messagesOf(turn);
    return at > 0 ? { messages, at } : { messages };
  });
}

function messagesOf(lines: readonly GoLine[]): readonly GoMessage[] {
  return lines.flatMap((line, index): readonly GoMessage[] => {
    const content = line.content ?? "";
    if (line.role === "user") return [{ role: "user", text: content }];
    if (line.role !== "assistant") return [];
    const calls = callsOf(line);
    const results = resultsAfter(lines.slice(index + 1), calls);
    const toolCalls = calls.filter(({ id }) => results.some(({ callId }) => callId === id));
    if (content === "" && toolCalls.length === 0) return [];
    return [
      { role: "assistant", text: content, ...(toolCalls.length > 0 && { toolCalls }) },
      ...results,
    ];
  });
}

function callsOf({ tool_calls }: GoLine): readonly Call[] {
  const calls = (tool_calls ?? []).map(({ id, name, function: called }) => ({
    id: id ?? "",
    name: called?.name ?? name ?? "",
    arguments: called?.arguments ?? "",
  }));
  return calls.filter(({ id, name }) => id !== "" && name !== "");
}

/** The tool results right after a message, one for each of its calls, in their order. */
function resultsAfter(lines: readonly GoLine[], calls: readonly Call[]) {
  const end = lines.findIndex(({ role }) => role !== "tool");
  const results = end === -1 ? lines : lines.slice(0, end);
  return calls.flatMap(({ id, name }) => {
    const result = results.find(({ tool_call_id }) => tool_call_id === id);
    if (result === undefined) return [];
    return [{ role: "tool", callId: id, name, text: result.content ?? "" } as const];
  });
}
