import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { PermissionsOf } from "../access/permissions.ts";
import type { Answerer, Message } from "../contract.ts";
import { modelErrorOf } from "../model/errors.ts";
import type { ModelErrorKind } from "../model/errors.ts";
import { overheard } from "../overheard.ts";
import type { Tool } from "../tools/contract.ts";

/** What an answer begins with that no model gave. */
export const MARK = "The model cannot be reached; this is what the device itself measures:\n";

const REST = "The rest has to wait until the model can be reached again.";

export interface OfflineFallbackOptions {
  /** The agent with a model. */
  readonly agent: Answerer;
  readonly deviceTool: Tool;
  readonly permissionsOf: PermissionsOf;
  readonly log: Log;
}

/** Faults of a model that was there and heard the question. */
const HEARD: ReadonlySet<ModelErrorKind> = new Set([
  "overflow",
  "toolless",
  "oversized",
  "withheld",
]);

/**
 * An agent with a model that the offline agent stands in for: a question about the device that the
 * model could not be reached for, before its first word and before it changed anything, is answered from
 * the device, marked as such; any other ends in the model's failure.
 */
export function createOfflineFallback(options: OfflineFallbackOptions): Answerer {
  const { agent, deviceTool, permissionsOf, log } = options;
  return async function* answer(turn) {
    let hasBegun = hasActed(turn.resumed ?? []);
    const record = async (message: Message): Promise<void> => {
      hasBegun ||= hasActed([message]);
      await turn.record?.(message);
    };
    try {
      return yield* overheard(agent({ ...turn, record }), () => (hasBegun = true));
    } catch (thrown) {
      if (!isUnreached(thrown) || hasBegun || turn.signal.aborted) throw thrown;
      if (!permissionsOf(turn).allows(deviceTool.name)) throw thrown;
      if (!(await isAboutDevice(turn.text))) throw thrown;
      const { message, why } = asFailure(thrown);
      log.warn("the model failed; the device answers for itself", { error: message, why });
    }
    yield MARK;
    const { createOfflineAgent } = await import("./offline-agent.ts");
    const turned = yield* createOfflineAgent({ deviceTool, permissionsOf, rest: REST })(turn);
    return { ...turned, messages: turned.messages.map(marked) };
  };
}

function isUnreached(thrown: unknown): boolean {
  const fault = modelErrorOf(thrown);
  return fault !== undefined && !HEARD.has(fault.kind);
}

/** Whether a model called a tool that may have changed something: its traces must not be lost. */
function hasActed(messages: readonly Message[]): boolean {
  return messages.some(
    (message) =>
      message.role === "assistant" && message.toolCalls?.some(({ name }) => name !== "device"),
  );
}

/** Its code is loaded when it is needed: most gateways never do. */
async function isAboutDevice(text: string): Promise<boolean> {
  const { understand, understandPast } = await import("./understand.ts");
  return understand(text).facts.length > 0 || understandPast(text, new Date()) !== undefined;
}

/** The conversation remembers what was said, the mark too. */
function marked<M extends { readonly role: string; readonly text: string }>(message: M): M {
  return message.role === "assistant" ? { ...message, text: MARK + message.text } : message;
}
