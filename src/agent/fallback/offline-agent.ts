import { hostname } from "node:os";
import { escapeControl } from "../../base/escape-control.ts";
import type { PermissionsOf } from "../access/permissions.ts";
import type { Answerer, Turned } from "../contract.ts";
import type { FactName } from "../device/facts.ts";
import type { Past } from "../device/past.ts";
import type { CallContext, Tool } from "../tools/contract.ts";
import { callContextOf } from "../tools/run.ts";
import { understand, understandPast } from "./understand.ts";

const REST = "The rest I cannot answer: I am an offline agent, no model is configured.";

/** For whoever may not even use the one tool that there is. */
const NOT_FOR_YOU =
  "I am an offline agent, no model is configured, and this client may not ask for facts of the device.";

export interface OfflineOptions {
  /** The tool that a model would call. */
  readonly deviceTool: Tool;
  readonly permissionsOf: PermissionsOf;
  /** Said at the end of an answer to a question of which a part is about something else. */
  readonly rest?: string;
}

/**
 * The agent where no model is configured: it answers questions about its device, through the tool a
 * model would call, and says plainly what it is when asked anything else. Never pretends to be a model.
 */
export function createOfflineAgent(options: OfflineOptions): Answerer {
  const { deviceTool, permissionsOf, rest = REST } = options;
  return async function* answer(turn) {
    const { text, signal } = turn;
    signal.throwIfAborted();
    const permissions = permissionsOf(turn);
    if (!permissions.allows(deviceTool.name)) {
      yield NOT_FOR_YOU;
      return turned(text, NOT_FOR_YOU);
    }
    const call = callContextOf(turn, permissions);
    const past = understandPast(text, new Date());
    if (past !== undefined) {
      const sentence = await pastSentence(past, deviceTool, call);
      yield sentence;
      return turned(text, sentence);
    }
    const { facts, more } = understand(text);
    const sentences = facts.length === 0 ? introduction() : factSentences(facts, deviceTool, call);
    let said = "";
    for await (const sentence of sentences) {
      const piece = said === "" ? sentence : `\n${sentence}`;
      said += piece;
      yield piece;
    }
    if (facts.length > 0 && more) {
      said += `\n${rest}`;
      yield `\n${rest}`;
    }
    return turned(text, said);
  };
}

/** Measured side by side, told in the order of the question, each as soon as it is there. */
async function* factSentences(
  facts: readonly FactName[],
  deviceTool: Tool,
  call: CallContext,
): AsyncGenerator<string> {
  const readings = facts.map((fact) => deviceTool.run({ facts: [fact] }, call));
  // The first that fails is awaited below; the others must not go unheard meanwhile.
  for (const reading of readings) reading.catch(() => {});
  for (const reading of readings) yield await reading;
}

async function pastSentence(
  { fact, from, to }: Past,
  deviceTool: Tool,
  call: CallContext,
): Promise<string> {
  const history = { fact, hours_back_from: from, hours_back_to: to };
  return await deviceTool.run({ history }, call);
}

function introduction(): string[] {
  const snippet = {
    model_list: [{ model_name: "gpt", model: "openai/gpt-5.4", api_keys: ["…"] }],
    agents: { defaults: { model_name: "gpt" } },
  };
  return [
    `I am the offline agent of picoclaw on ${escapeControl(hostname())}. No model is configured, so I can only answer questions about this device.`,
    "Ask for its CPU usage, memory, disk space, temperature, load, uptime, network addresses, time, processes, processor or system, for its status, or how hot or busy it was last night.",
    `To add a model, put this into config.json, with your own model and key: ${JSON.stringify(snippet)}`,
  ];
}

function turned(question: string, answer: string): Turned {
  return {
    messages: [
      { role: "user", text: question },
      { role: "assistant", text: answer },
    ],
  };
}
