import { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Answerer } from "./contract.ts";
import { overheard } from "./overheard.ts";
import type { Tool } from "./tools/contract.ts";

/** What an answer begins with that no model gave. */
export const MARK = "The model cannot be reached; this is what the device itself measures:\n";

const REST = "The rest has to wait until the model can be reached again.";

export interface StandbyOptions {
  /** The agent with a model. */
  readonly agent: Answerer;
  readonly deviceTool: Tool;
  readonly log: Log;
}

/**
 * An agent with a model that the offline agent stands in for: a question about the device that the
 * model failed on before its first word is answered from the device, marked as such; any other ends
 * in the model's failure.
 */
export function createStandby({ agent, deviceTool, log }: StandbyOptions): Answerer {
  return async function* answer(turn) {
    let isSpoken = false;
    try {
      return yield* overheard(agent(turn), () => (isSpoken = true));
    } catch (thrown) {
      const isModels = thrown instanceof Failure && thrown.code === "model";
      if (!isModels || isSpoken || turn.signal.aborted || !(await isAboutDevice(turn.text)))
        throw thrown;
      const { message, why } = thrown;
      log.warn("the model failed; the device answers for itself", { error: message, why });
    }
    yield MARK;
    const { createOfflineAgent } = await import("./offline.ts");
    const turned = yield* createOfflineAgent(deviceTool, { rest: REST })(turn);
    return { ...turned, messages: turned.messages.map(marked) };
  };
}

/** Its code is loaded when it is needed: most gateways never do. */
async function isAboutDevice(text: string): Promise<boolean> {
  const [{ understand }, { understandPast }] = await Promise.all([
    import("./offline/understand.ts"),
    import("./offline/past.ts"),
  ]);
  return understand(text).facts.length > 0 || understandPast(text, new Date()) !== undefined;
}

/** The conversation remembers what was said, the mark too. */
function marked<M extends { readonly role: string; readonly text: string }>(message: M): M {
  return message.role === "assistant" ? { ...message, text: MARK + message.text } : message;
}
