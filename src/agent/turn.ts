import { Failure } from "../base/failure.ts";
import { faultPoint } from "../base/faults.ts";
import type { Log } from "../base/log.ts";
import type { Answerer, Message, ToolCall, Turn, Usage } from "./contract.ts";
import type { Model, Reply, Utterance } from "./model/contract.ts";
import { completed } from "./resumed.ts";
import { runCalls } from "./tools/batch.ts";
import type { Tool } from "./tools/contract.ts";
import { runTool } from "./tools/run.ts";

export interface ModelAgentOptions {
  /** The model that answers this turn, in all of its rounds. */
  readonly modelFor: (turn: Pick<Turn, "history" | "text">) => Model;
  /** What this turn may call. */
  readonly toolsFor: (turn: Turn) => readonly Tool[];
  /** The system prompt of this turn. */
  readonly systemFor: (turn: Turn, tools: readonly Tool[]) => Promise<string>;
  /** Questions to the model in one turn. */
  readonly max_tool_iterations: number;
  readonly log: Log;
  /** Milliseconds one tool call may take where its tool says nothing; 30 s. */
  readonly toolMilliseconds?: number;
}

/** What stands between the words before a tool call and the words after it. */
const GAP = "\n\n";

/** An agent with a model: asks it, runs the tools it calls, and asks again until it calls none. */
export function createModelAgent(options: ModelAgentOptions): Answerer {
  const { log } = options;
  return async function* answer(turn) {
    const { text, signal } = turn;
    const model = options.modelFor(turn);
    const tools = options.toolsFor(turn);
    const system = await options.systemFor(turn, tools);
    const history = turn.history.filter(isUtterance);
    const said: Utterance[] = [
      { role: "user", text },
      ...completed(turn.resumed ?? []).filter(isUtterance),
    ];
    let [usage, asked, repeated]: [Usage | undefined, number, boolean] = [undefined, 0, false];
    while (asked < options.max_tool_iterations) {
      asked += 1;
      const messages = [...history, ...said];
      const reply = yield* model({ system, messages, tools, signal });
      signal.throwIfAborted();
      usage = sum(usage, reply.usage);
      if (reply.cut) log.warn("the model's answer was cut at its limit of output tokens");
      if (reply.toolCalls.length > 0) {
        if (reply.text.trim() !== "") yield GAP;
        const call = asUtterance(reply);
        await turn.record?.(withoutReasoning(call));
        said.push(call, ...(await resultsOf(reply.toolCalls, { turn, tools, options })));
      } else if (reply.text.trim() !== "") {
        said.push(asUtterance(reply));
        return { messages: said.map(withoutReasoning), ...(usage === undefined ? {} : { usage }) };
      } else if (repeated) {
        throw emptyAnswer();
      } else {
        log.warn("the model's answer is empty; it is asked once more");
        repeated = true;
      }
    }
    throw tooManyRounds(options.max_tool_iterations);
  };
}

function asUtterance({ text, toolCalls, reasoning }: Reply): Utterance {
  return {
    role: "assistant",
    text,
    ...(toolCalls.length === 0 ? {} : { toolCalls }),
    ...(reasoning === undefined ? {} : { reasoning }),
  };
}

function isUtterance(message: Message): message is Utterance {
  return message.role !== "summary";
}

/** A store keeps what was said, not what was thought. */
function withoutReasoning(said: Utterance): Message {
  const { reasoning, ...message } = said;
  return reasoning === undefined ? said : message;
}

interface Running {
  readonly turn: Turn;
  readonly tools: readonly Tool[];
  readonly options: ModelAgentOptions;
}

/** What each call gave, in the order of the calls. */
async function resultsOf(
  calls: readonly ToolCall[],
  { turn, tools, options }: Running,
): Promise<Utterance[]> {
  const { signal, client, isRemote = false } = turn;
  const { log, toolMilliseconds } = options;
  const limit = toolMilliseconds === undefined ? {} : { milliseconds: toolMilliseconds };
  return await runCalls(calls, tools, async (call): Promise<Utterance> => {
    const startedAt = performance.now();
    const text = await runTool(call, { tools, signal, client, isRemote, ...limit });
    const ms = Math.round(performance.now() - startedAt);
    log.debug("a tool ran", { tool: call.name.slice(0, 100), ms, characters: text.length });
    faultPoint("tool_ran");
    const result = { role: "tool", callId: call.id, name: call.name, text } as const;
    await turn.record?.(result);
    faultPoint("tool_stored");
    return result;
  });
}

function sum(left: Usage | undefined, right: Usage | undefined): Usage | undefined {
  if (left === undefined || right === undefined) return left ?? right;
  return {
    inputTokens: left.inputTokens + right.inputTokens,
    outputTokens: left.outputTokens + right.outputTokens,
  };
}

function emptyAnswer(): Failure {
  return new Failure("model", "the model's answer is empty", {
    why: "twice it sent neither text nor a tool call",
    remedy: "raise max_tokens: a model that thinks can use all of them before its first word",
  });
}

/**
 * A failure rather than Go PicoClaw's sentence as an ordinary answer: whoever reads `error` must be
 * able to tell that this is no answer.
 */
function tooManyRounds(most: number): Failure {
  return new Failure(
    "model",
    `the model used all of its ${most} rounds of tools without an answer`,
    {
      remedy: "raise agents.defaults.max_tool_iterations if such questions need more steps",
    },
  );
}
