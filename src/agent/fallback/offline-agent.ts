import { hostname } from "node:os";
import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { PermissionsOf } from "../access/permissions.ts";
import type { Answerer, Turn, Turned } from "../contract.ts";
import type { FactName } from "../device/facts.ts";
import type { CallContext, Tool } from "../tools/contract.ts";
import { callContextOf } from "../tools/run.ts";
import type { OfflineTools } from "./offline-tools.ts";
import { understand, understandPast } from "./understand.ts";

const REST = "The rest I cannot answer: I am an offline agent, no model is configured.";

/** The answer to a client that may not use the device tool. */
const NOT_FOR_YOU =
  "I am an offline agent without a model, and this client may not ask about the device.";

export interface OfflineOptions extends Pick<OfflineTools, "deviceTool"> {
  readonly devicesTool?: OfflineTools["devicesTool"];
  readonly permissionsOf: PermissionsOf;
  /** The end of an answer if a part of the question is about something else. */
  readonly rest?: string;
}

/**
 * The agent without a model. It answers questions about its device with the tool that a model would call.
 * For any other text it says what it is and what it can answer. It never pretends to be a model.
 */
export function createOfflineAgent(options: OfflineOptions): Answerer {
  const { deviceTool, permissionsOf, rest = REST } = options;
  return async function* answer(turn) {
    const { text, signal } = turn;
    signal.throwIfAborted();
    if (turn.format !== undefined) throw noModel("answer in the format asked for", "format");
    if (turn.images !== undefined) throw noModel("look at an image", "images");
    const permissions = permissionsOf(turn);
    const health = await askDevices(turn, options);
    if (health !== undefined) {
      yield health;
      return turnResult(text, health);
    }
    if (!permissions.allows(deviceTool.name)) {
      yield NOT_FOR_YOU;
      return turnResult(text, NOT_FOR_YOU);
    }
    const call = callContextOf(turn, permissions);
    const past = understandPast(text, new Date());
    if (past !== undefined) {
      const { fact, from, to } = past;
      const history = { fact, hours_back_from: from, hours_back_to: to };
      const sentence = await deviceTool.run({ history }, call);
      yield sentence;
      return turnResult(text, sentence);
    }
    const { facts, more } = understand(text);
    const sentences =
      facts.length === 0 ? introduction(call.isRemote) : factSentences(facts, deviceTool, call);
    let answerText = "";
    for await (const sentence of sentences) {
      const piece = answerText === "" ? sentence : `\n${sentence}`;
      answerText += piece;
      yield piece;
    }
    if (facts.length > 0 && more) {
      answerText += `\n${rest}`;
      yield `\n${rest}`;
    }
    return turnResult(text, answerText);
  };
}

/** The answer to a question about the devices of the home; undefined for any other, and without the right to ask. */
async function askDevices(
  turn: Turn,
  { devicesTool, permissionsOf }: OfflineOptions,
): Promise<string | undefined> {
  const permissions = permissionsOf(turn);
  if (devicesTool === undefined || !permissions.allows(devicesTool.name)) return undefined;
  const { understandDevices } = await import("./understand-devices.ts");
  const about = understandDevices(turn.text);
  if (about.length === 0) return undefined;
  return devicesTool.run({ action: "health", about }, callContextOf(turn, permissions));
}

/** What parses an answer can do nothing with sentences, and a question about an image needs one who sees it. */
function noModel(what: string, field: string): Failure {
  return new Failure("model", `no model is configured that could ${what}`, {
    remedy: `configure a model, or ask without ${field}`,
  });
}

/** Measures in parallel; yields in the order of the question, each sentence as soon as it is ready. */
async function* factSentences(
  facts: readonly FactName[],
  deviceTool: Tool,
  call: CallContext,
): AsyncGenerator<string> {
  const readings = facts.map((fact) => deviceTool.run({ facts: [fact] }, call));
  // The loop below awaits the first error. The others must not become unhandled rejections.
  for (const reading of readings) reading.catch(() => {});
  for (const reading of readings) yield await reading;
}

/** A device gets no lines of a configuration, which only somebody at the machine can use. */
function introduction(isRemote: boolean): string[] {
  const snippet = {
    model_list: [{ model_name: "gpt", model: "openai/gpt-5.4", api_keys: ["…"] }],
    agents: { defaults: { model_name: "gpt" } },
  };
  return [
    `I am the offline agent of picoclaw on ${escapeControl(hostname())}. No model is configured, so I can only answer questions about this device.`,
    "Ask for its CPU usage, memory, disk space, temperature, load, uptime, network addresses, time, processes, processor or system, for its status, or how hot or busy it was last night.",
    isRemote
      ? "Whoever runs this agent can add a model: model_list in its config.json."
      : `To add a model, put this into config.json, with your own model and key: ${JSON.stringify(snippet)}`,
  ];
}

function turnResult(question: string, answer: string): Turned {
  return {
    messages: [
      { role: "user", text: question },
      { role: "assistant", text: answer },
    ],
  };
}
