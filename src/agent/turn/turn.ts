import { abortable } from "../../base/async.ts";
import type { Image, Usage } from "../../base/contract.ts";
import { failpoint } from "../../base/failpoint.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import { MAX_IMAGES } from "../../base/images.ts";
import type { Log } from "../../base/log.ts";
import { truncate } from "../../base/truncate.ts";
import type { Confirmations } from "../access/confirmations.ts";
import { ownerOf } from "../access/permissions.ts";
import type { Permissions } from "../access/permissions.ts";
import type { Answerer, Message, StartedStream, ToolCall, Turn } from "../contract.ts";
import type { ToolHooks } from "../hooks/contract.ts";
import { callTokens } from "../model/call-tokens.ts";
import type { ContextWindow } from "../model/context-window.ts";
import type { Model, ModelCall, Reply, PromptMessage } from "../model/contract.ts";
import { isImageless, isOverflow, promptTooLong } from "../model/errors.ts";
import type { ModelFailure } from "../model/errors.ts";
import { logToolCall, verdictOnCall } from "../tools/audit.ts";
import { ToolError } from "../tools/contract.ts";
import type { Tool } from "../tools/contract.ts";
import { runCalls, callContextOf, runTool } from "../tools/run.ts";
import { withFrames } from "./context.ts";
import { trimHistory, trimOldest, trimOnce } from "./trim-history.ts";

/** Everything one turn uses, from its first model call to its last. */
export interface TurnSetup {
  readonly model: Model;
  readonly tools: readonly Tool[];
  /** Checked again at each tool call. */
  readonly permissions: Permissions;
  /** Whether there is a tool of that name, perhaps not for this caller; if left out, those of `tools`. */
  readonly hasTool?: ((name: string) => boolean) | undefined;
  /** Run before and after each tool call. */
  readonly hooks?: ToolHooks | undefined;
  /** Where calls wait that a person has to allow. */
  readonly confirmations?: Confirmations | undefined;
  /** The same in each turn of a conversation, so that a provider has the beginning of the prompt in its cache. */
  readonly system: string;
  /**
   * What changes from turn to turn; "" for none. It precedes the question and is stored with it, unless the
   * conversation's newest one is the same.
   */
  readonly preface?: string;
  /** Messages before the history. Roles alternate and end with the assistant. */
  readonly contextMessages?: readonly PromptMessage[];
  /** Model calls; `max_tool_iterations` if left out. */
  readonly rounds?: number;
}

/** A turn whose history is read. */
export type TurnWithHistory = Omit<Turn, "history"> & { readonly history: readonly Message[] };

export interface TurnOptions {
  /** Called once, when the turn begins. */
  readonly prepareTurn: (turn: TurnWithHistory) => Promise<TurnSetup>;
  /** Model calls in one turn. */
  readonly max_tool_iterations: number;
  readonly log: Log;
  /** The window of the current model, for the failure of a prompt that does not fit. */
  readonly window?: () => ContextWindow;
  /** Called with the result of a call that was confirmed. */
  readonly onOutcome?: (text: string) => void;
  /** Milliseconds of one tool call if its tool has no limit of its own; 30 s. */
  readonly toolMilliseconds?: number;
}

/** Separates the text before a tool call from the text after it. */
const GAP = "\n\n";

/** Answers turns with a model: calls it, runs the tools that it calls, and repeats until it calls none. */
export function createTurns(options: TurnOptions): Answerer {
  return (turn) =>
    turn.pushed?.confirmation === undefined
      ? answer(turn, options)
      : answerWithOutcome(turn, options);
}

/** Characters of a result that is sent without a model. */
const MAX_OUTCOME = 1_000;

/** The result of a confirmed call is sent also if the model fails. */
async function* answerWithOutcome(turn: Turn, options: TurnOptions): ReturnType<Answerer> {
  let outcome: string | undefined;
  const onOutcome = (text: string): void => {
    outcome = truncate(text, MAX_OUTCOME);
  };
  try {
    return yield* answer(turn, { ...options, onOutcome });
  } catch (thrown) {
    if (turn.signal.aborted || outcome === undefined) throw thrown;
    const { message, why } = asFailure(thrown);
    options.log.warn("the result of a confirmed call is told as it is", { error: message, why });
    yield `The call that was confirmed has this result: ${outcome}`;
    return { messages: [] };
  }
}

/** No closure: what the runtime compiles for a generator does not outlive its function. */
async function* answer(asked: Turn, options: TurnOptions): ReturnType<Answerer> {
  const turn = { ...asked, history: await abortable(asked.history(), asked.signal) };
  const setup = await abortable(options.prepareTurn(turn), turn.signal);
  const { rounds = options.max_tool_iterations } = setup;
  const state = beginTurn(turn, setup);
  await makeConfirmedCall(state, options);
  let [usage, calls, isRepeated]: [Usage | undefined, number, boolean] = [undefined, 0, false];
  while (calls < rounds) {
    calls += 1;
    const { first, rest } = await startReply(state, options);
    let reply: Reply;
    try {
      if (first.done !== true) yield first.value;
      reply = first.done === true ? first.value : yield* rest;
    } finally {
      await rest.return?.();
    }
    turn.signal.throwIfAborted();
    usage = addUsage(usage, reply.usage);
    if (reply.truncated)
      options.log.warn("the model's answer was cut at its limit of output tokens");
    if (reply.toolCalls.length > 0) {
      if (reply.text.trim() !== "") yield GAP;
      const message = asPromptMessage(reply);
      await record(turn, asStored(message));
      const results = await runToolCalls(reply.toolCalls, state, options);
      state.added = [...state.added, message, ...results];
    } else if (isAnswer(reply, turn)) {
      const messages = await storedMessages(state, reply);
      return { messages, ...(usage && { usage }) };
    } else if (isRepeated) {
      throw emptyAnswer();
    } else {
      options.log.warn("the model's answer is empty; the model is called once more");
      isRepeated = true;
    }
  }
  throw tooManyRounds(rounds);
}

/** Also an empty text, if the client may be told nothing. */
function isAnswer({ text }: Reply, { pushed }: TurnWithHistory): boolean {
  return text.trim() !== "" || (pushed !== undefined && pushed.confirmation === undefined);
}

/**
 * Makes the call that was confirmed, if the turn began for that: once, whatever happens. It is recorded before, so
 * that the attempt after a crash finds it.
 */
async function makeConfirmedCall(state: TurnState, options: TurnOptions): Promise<void> {
  const { confirmation } = state.turn.pushed ?? {};
  if (confirmation === undefined) return;
  const isResumed = state.added.some(({ role }) => role === "tool");
  if (!isResumed) await beginConfirmedCall(confirmation, state, options);
  options.onOutcome?.(state.added.find(({ role }) => role === "tool")?.text ?? "");
}

async function beginConfirmedCall(
  id: string,
  state: TurnState,
  options: TurnOptions,
): Promise<void> {
  const { turn, confirmations } = state;
  const { client, channel = "" } = turn;
  const begun = await confirmations?.begin(id, { client, channel });
  const { tool: name, arguments: words } = begun?.call ?? { tool: "(none)", arguments: "{}" };
  const call = { id: `confirmed-${id}`, name, arguments: words };
  const message = { role: "assistant", text: "", toolCalls: [call] } as const;
  await record(turn, message);
  const results = begun?.isFirst
    ? await runToolCalls(
        [call],
        { ...state, isConfirmed: true, asked: begun.call.question },
        options,
      )
    : [{ role: "tool", callId: call.id, name, text: begun ? UNKNOWN : TOO_LATE } as const];
  state.added = [...state.added, message, ...results];
}

const TOO_LATE = "error: it was confirmed too late, and not made";

/** A turn in progress. */
interface TurnState extends TurnSetup {
  readonly turn: TurnWithHistory;
  /** A person has allowed the calls that are made. */
  readonly isConfirmed?: boolean;
  /** With this question. */
  readonly asked?: string;
  /** The question, and all messages after it. */
  added: readonly PromptMessage[];
  /** Characters of all tool results. */
  results: number;
  /** Images of all tool results. */
  images: number;
  history: readonly Message[];
}

function beginTurn(turn: TurnWithHistory, setup: TurnSetup): TurnState {
  const resumed = turn.resumed ? closeOpenToolCalls(turn.resumed).filter(isPromptMessage) : [];
  const { text, images } = turn;
  const question = { role: "user", text, ...(images && { images }) } as const;
  const added = withPreface([question, ...resumed], setup.preface, turn.history);
  // The calls before a crash count as well.
  for (const { role } of added) if (role === "tool") turn.allowance?.takeCall();
  return {
    ...setup,
    turn,
    added,
    results: 0,
    images: 0,
    history: turn.history,
  };
}

/** The messages of a turn, with the preface before the question, unless the newest one in the history still holds. */
function withPreface(
  added: readonly PromptMessage[],
  preface: string | undefined,
  history: readonly Message[],
): readonly PromptMessage[] {
  const [question, ...others] = added;
  const newest = history.findLast((message) => message.role === "user" && message.preface);
  const holds = newest?.role === "user" && newest.preface === preface;
  if (question?.role !== "user" || !preface || holds) return added;
  return [{ ...question, preface }, ...others];
}

/** Stands for the result of a call that was not recorded. */
const UNKNOWN =
  "[The program was cut off while this call ran. Whether it took effect is not known: check that before you call again.]";

/**
 * The messages of an interrupted turn, in an order that models accept: the results follow the message with
 * their calls, in the order of the calls. A call without a result gets one that says so.
 */
export function closeOpenToolCalls(steps: readonly Message[]): Message[] {
  const results = steps.filter((step) => step.role === "tool");
  return steps.flatMap((step): Message[] => {
    if (step.role !== "assistant") return [];
    const answers = (step.toolCalls ?? []).map((call) => take(results, call) ?? unknown(call));
    return [step, ...answers];
  });
}

/** Takes the first result of a call; ids may repeat in a later message. */
function take(
  results: Extract<Message, { role: "tool" }>[],
  { id }: ToolCall,
): Message | undefined {
  const at = results.findIndex(({ callId }) => callId === id);
  return at === -1 ? undefined : results.splice(at, 1)[0];
}

function unknown({ id, name }: ToolCall): Message {
  return { role: "tool", callId: id, name, text: UNKNOWN };
}

/** How often a conversation is trimmed after a refusal: four times is enough for one that is 16 times too long. */
const MAX_TRIMS = 4;

/**
 * Calls the model until the first step of its reply is there. A conversation that does not fit into a known window
 * is shortened before it is sent; one that the server refuses gets shorter each time. A model that reads no images
 * is told so if it wanted to see files: only its client's images are an error.
 */
async function startReply(state: TurnState, options: TurnOptions): Promise<StartedStream<Reply>> {
  /** False once nothing more can be dropped: then the server decides. */
  let canShorten = true;
  for (let refusals = 0; ;) {
    const call = callOf(state, canShorten);
    const rest = state.model(call);
    try {
      return { first: await rest.next(), rest };
    } catch (thrown) {
      if (isImageless(thrown) && dropImages(state)) continue;
      if (!isOverflow(thrown)) throw thrown;
      const isUnsent = thrown.kind === "unsent";
      if (!isUnsent) refusals += 1;
      const trim = isUnsent ? trimOldest : trimHistory;
      const less = refusals > MAX_TRIMS ? undefined : trimOnce(state, trim);
      if (less !== undefined) {
        const [messages, kept] = [state.history.length, less.history.length];
        options.log[isUnsent ? "debug" : "warn"](TRIMMED, { messages, kept });
        state.history = less.history;
        state.added = withPreface(less.added, state.preface, less.history);
      } else if (isUnsent) canShorten = false;
      else throw asPromptTooLong(thrown, call, options);
    }
  }
}

/** Takes the images of files out of the turn; false if it has none, or its question has some. */
function dropImages(state: TurnState): boolean {
  if (state.images === 0 || state.turn.images !== undefined) return false;
  state.images = 0;
  state.added = state.added.map(withoutImages);
  return true;
}

function withoutImages({ images, ...message }: PromptMessage): PromptMessage {
  return images === undefined ? message : { ...message, text: NO_IMAGES };
}

const NO_IMAGES = "error: this cannot be shown, because you read no images";

const TRIMMED = "the conversation is too long for the model, which gets less of it";

/** The failure of a call that is refused though nothing can be dropped: often the prompt and the tools are too long. */
function asPromptTooLong(failure: ModelFailure, call: ModelCall, options: TurnOptions): Failure {
  const { prompt, all } = callTokens(call);
  return prompt < all / 2 ? failure : promptTooLong(failure, prompt, options.window?.());
}

/** The prompt grows at its end, so that a provider has most of it in its cache. */
function callOf(state: TurnState, canShorten: boolean): ModelCall {
  const { system, tools, turn, history, added, contextMessages = [] } = state;
  const messages = withFrames([...contextMessages, ...history.filter(isPromptMessage), ...added]);
  const { signal, allowance } = turn;
  return { system, messages, tools, signal, owner: ownerOf(turn), allowance, canShorten };
}

function asPromptMessage({ text, toolCalls, reasoning }: Reply): PromptMessage {
  return {
    role: "assistant",
    text,
    ...(toolCalls.length > 0 && { toolCalls }),
    ...(reasoning !== undefined && { reasoning }),
  };
}

function isPromptMessage(message: Message): message is PromptMessage {
  return message.role !== "summary";
}

/** Neither reasoning nor images are stored. */
function asStored(message: PromptMessage): Message {
  if (message.reasoning === undefined && message.images === undefined) return message;
  const { reasoning: _, images: __, ...rest } = message;
  return rest;
}

/** The messages of a turn as they are stored: instead of its images the question tells of them. */
async function storedMessages({ added, turn }: TurnState, reply: Reply): Promise<Message[]> {
  const messages = [...added, asPromptMessage(reply)].map(asStored);
  const [question, ...others] = messages;
  if (turn.images === undefined || question?.role !== "user") return messages;
  const { withImageNotes } = await import("../../base/image-note.ts");
  return [{ ...question, text: withImageNotes(question.text, turn.images) }, ...others];
}

/** Runs tool calls; returns their results in the order of the calls. Other turns may use the turn's slot meanwhile. */
async function runToolCalls(
  calls: readonly ToolCall[],
  state: TurnState,
  { log, toolMilliseconds }: TurnOptions,
): Promise<PromptMessage[]> {
  const { turn, tools } = state;
  const { permissions, hooks, confirmations, isConfirmed = false, asked } = state;
  const asking = { confirmations, isConfirmed, asked };
  const limit = toolMilliseconds !== undefined && { milliseconds: toolMilliseconds };
  const facts = { tools, hooks, ...asking, ...callContextOf(turn, permissions), ...limit };
  const result = async (call: ToolCall): Promise<PromptMessage> => {
    const images: Image[] = [];
    const showImage = (image: Image): void => {
      if (state.images >= MAX_IMAGES) throw new ToolError(NO_MORE_IMAGES);
      state.images += 1;
      images.push(image);
    };
    const startedAt = performance.now();
    const mayRun = turn.allowance?.takeCall() ?? true;
    let isRefused = !mayRun;
    const onRefusal = (): void => {
      isRefused = true;
    };
    const text = mayRun
      ? bounded(await runTool(call, { ...facts, showImage, onRefusal }), state)
      : NO_MORE_CALLS;
    const endedAt = performance.now();
    const verdict = verdictOnCall(call.name, { text, isRefused }, state);
    // A name that the model invented can be anything, a secret too.
    const tool = verdict === "unknown" ? "(unknown)" : call.name;
    const texts = { arguments: call.arguments, result: text };
    turn.allowance?.ended?.({ tool, verdict, startedAt, endedAt }, texts);
    logToolCall(log, turn, { tool: call.name, verdict, ms: endedAt - startedAt, text });
    failpoint("tool_ran");
    const message = { role: "tool", callId: call.id, name: call.name, text } as const;
    await record(turn, message);
    failpoint("tool_stored");
    return images.length === 0 ? message : { ...message, images };
  };
  const run = () => runCalls(calls, tools, result);
  return await (turn.whileWaiting?.(run) ?? run());
}

const NO_MORE_IMAGES = `no answer can look at more than ${MAX_IMAGES} image files: answer now with what is known`;

const NO_MORE_CALLS = "error: this answer may call no more tools: answer now with what is known";

/** Characters of all results of one turn: they are held in memory, and sent again with each model call. */
const MAX_RESULTS = 2 ** 20;

function bounded(text: string, state: TurnState): string {
  state.results += text.length;
  if (state.results <= MAX_RESULTS) return text;
  return "error: the tool results of this answer are too long: answer now with what is known";
}

/** Records a message; an aborted turn does not wait for a slow disk. */
async function record(turn: TurnWithHistory, message: Message): Promise<void> {
  if (turn.record !== undefined) await abortable(turn.record(message), turn.signal);
}

/** What two calls used together; undefined if neither says it. */
export function addUsage(left: Usage | undefined, right: Usage | undefined): Usage | undefined {
  if (left === undefined || right === undefined) return left ?? right;
  const cachedTokens = (left.cachedTokens ?? 0) + (right.cachedTokens ?? 0);
  return {
    inputTokens: left.inputTokens + right.inputTokens,
    outputTokens: left.outputTokens + right.outputTokens,
    ...(cachedTokens > 0 && { cachedTokens }),
  };
}

function emptyAnswer(): Failure {
  return new Failure("model", "the model's answer is empty", {
    why: "twice it sent neither text nor a tool call",
    remedy: "raise max_tokens: a model that thinks can use all of them before its first word",
  });
}

/**
 * A failure, where Go PicoClaw answers with an ordinary sentence: clients that read `error` must see that
 * this is no answer.
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
