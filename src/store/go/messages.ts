import * as v from "valibot";

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
export type GoLine = v.InferOutput<typeof LINE>;

/** Parses a line; undefined if it is incomplete or not a message. */
export function readLine(line: string): GoLine | undefined {
  try {
    const parsed = v.safeParse(LINE, JSON.parse(line));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

export interface GoTurn {
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
