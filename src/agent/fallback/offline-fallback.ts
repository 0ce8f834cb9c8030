import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { PermissionsOf } from "../access/permissions.ts";
import type { Answerer, Message, StartedStream, Turn, Turned } from "../contract.ts";
import { classOf, modelErrorOf } from "../model/errors.ts";
import type { ModelErrorKind } from "../model/errors.ts";
import type { OfflineTools } from "./offline-tools.ts";

/** What an answer begins with that no model gave. */
export const MARK = "The model cannot be reached; this is what the device itself measures:\n";

/** The same for a model whose provider was reached, and refused. */
export const REFUSED_MARK =
  "The model's provider refused the question; this is what the device itself measures:\n";

const REST = "The rest has to wait until the model can be reached again.";

interface OfflineFallbackOptions extends OfflineTools {
  readonly permissionsOf: PermissionsOf;
  readonly log: Log;
}

/** An answer that has begun. */
export interface StartedAnswer extends StartedStream<Turned> {
  /** The offline agent gives it. */
  readonly isOffline: boolean;
}

/** Errors of a model that was reached and read the question. */
const REACHED: ReadonlySet<ModelErrorKind> = new Set([
  "overflow",
  "toolless",
  "imageless",
  "oversized",
  "withheld",
]);

/**
 * Starts an agent's answers, with the offline agent as its fallback. If no model could be reached, before
 * the first text and before a tool may have changed something, the offline agent answers a question about
 * the device, and marks its answer; any other question ends with the model's failure.
 */
export function createOfflineFallback(options: OfflineFallbackOptions) {
  const { log } = options;
  return async (agent: Answerer, turn: Turn): Promise<StartedAnswer> => {
    let mark = MARK;
    let hasActed = mayHaveActed(turn.resumed ?? []);
    const record = async (message: Message): Promise<void> => {
      hasActed ||= mayHaveActed([message]);
      await turn.record?.(message);
    };
    try {
      const rest = agent({ ...turn, record });
      return { first: await rest.next(), rest, isOffline: false };
    } catch (thrown) {
      if (!isUnreached(thrown) || hasActed || turn.signal.aborted) throw thrown;
      // What parses the answer can do nothing with the offline agent's sentences; nor does it see images.
      if (turn.format !== undefined || turn.images !== undefined) throw thrown;
      if (!(await canAnswer(turn, options))) throw thrown;
      const { message, why } = asFailure(thrown);
      log.warn("the model failed; the offline agent answers", { error: message, why });
      mark = isRefused(thrown) ? REFUSED_MARK : MARK;
    }
    const { createOfflineAgent } = await import("./offline-agent.ts");
    const rest = marked(createOfflineAgent({ ...options, rest: REST })(turn), mark);
    return { first: await rest.next(), rest, isOffline: true };
  };
}

/** Whether the offline agent knows an answer, and the client may have it. */
async function canAnswer(
  turn: Turn,
  { deviceTool, devicesTool, permissionsOf }: OfflineFallbackOptions,
): Promise<boolean> {
  const { allows } = permissionsOf(turn);
  if (allows(deviceTool.name) && (await isAboutDevice(turn.text))) return true;
  const isHome = devicesTool !== undefined && allows(devicesTool.name);
  return isHome && (await isAboutDevices(turn.text));
}

/** An answer with the mark before its text; the conversation keeps the mark, too. */
async function* marked(answer: ReturnType<Answerer>, mark: string): AsyncGenerator<string, Turned> {
  yield mark;
  const turned = yield* answer;
  const messages = turned.messages.map((message) =>
    message.role === "assistant" ? { ...message, text: mark + message.text } : message,
  );
  return { ...turned, messages };
}

function isUnreached(thrown: unknown): boolean {
  const fault = modelErrorOf(thrown);
  return fault !== undefined && !REACHED.has(fault.kind);
}

/** Whether the provider answered with an error that waiting does not mend: of the key, the model, an option. */
function isRefused(thrown: unknown): boolean {
  const error = modelErrorOf(thrown);
  if (error === undefined || error.kind === "garbled") return false;
  return ["auth", "billing", "absent", "final"].includes(classOf(error));
}

/** Whether a model called a tool that may have changed something: another answer must not hide that. */
function mayHaveActed(messages: readonly Message[]): boolean {
  return messages.some(
    (message) =>
      message.role === "assistant" &&
      message.toolCalls?.some(({ name }) => name !== "device" && name !== "devices"),
  );
}

async function isAboutDevices(text: string): Promise<boolean> {
  const { understandDevices } = await import("./understand-devices.ts");
  return understandDevices(text).length > 0;
}

/** Its code is loaded when it is needed: most gateways never do. */
async function isAboutDevice(text: string): Promise<boolean> {
  const { understand, understandPast } = await import("./understand.ts");
  return understand(text).facts.length > 0 || understandPast(text, new Date()) !== undefined;
}
