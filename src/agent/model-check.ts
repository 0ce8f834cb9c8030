import type { Check, Diagnosis } from "../base/contract.ts";
import { asFailure, Failure } from "../base/failure.ts";
import { SILENT } from "../base/log.ts";
import type { Config } from "../config/contract.ts";
import type { Fetch, Model, ModelCall, Reply } from "./model/contract.ts";

interface ModelCheckOptions {
  readonly config: Pick<Config, "agents" | "model_list">;
  readonly fetch?: Fetch;
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

const CALL = "model.call";
const CLOCK = "clock";
/** The clock may be wrong by so many seconds: signatures of requests hold for five minutes. */
const SLOW_S = 120;
const WRONG_S = 3_600;

const TOOL = {
  name: "report",
  description: "Reports the result of the test.",
  parameters: {
    type: "object",
    properties: { result: { type: "string", enum: ["ok"] } },
    required: ["result"],
  },
};

const QUESTION: Pick<ModelCall, "system" | "messages" | "tools"> = {
  system: "You are tested. Call the tool report, once, with the result ok. Say nothing else.",
  messages: [{ role: "user", text: "Call the tool report with the result ok." }],
  tools: [TOOL],
};

/**
 * Calls the model that would answer, once, and none in its place: it has to call a tool. Compares the clock with
 * that of its server.
 */
export async function modelCallChecks(options: ModelCheckOptions): Promise<readonly Diagnosis[]> {
  const { now = Date.now, signal, fetch = globalThis.fetch } = options;
  const dates: { readonly server: number; readonly own: number }[] = [];
  const watched: Fetch = async (url, init) => {
    const response = await fetch(url, init);
    const server = Date.parse(response.headers.get("date") ?? "");
    if (!Number.isNaN(server)) dates.push({ server, own: now() });
    return response;
  };
  const opened = await openModel({ ...options, fetch: watched });
  if (opened === undefined) {
    const isNone = options.config.model_list.length === 0;
    const message = isNone
      ? "no model is configured"
      : "no model of the configuration can be called";
    return [
      { code: CALL, name: "model", result: "skip", message },
      {
        code: CLOCK,
        name: "clock",
        result: "skip",
        message: `${message}, so no server tells the time`,
      },
    ];
  }
  const { model, name, close } = opened;
  try {
    return [await callCheck(model, name, signal), clockCheck(dates[0])];
  } finally {
    await close();
  }
}

async function openModel({ config, fetch = globalThis.fetch }: ModelCheckOptions) {
  const { openModels } = await import("./model/models.ts");
  const settings = (model_list: Config["model_list"], model_name: string) => {
    const defaults = { ...config.agents.defaults, model_name, max_llm_retries: 0 };
    const bare = { ...defaults, model_fallbacks: [] };
    return { config: { agents: { defaults: bare }, model_list }, fetch, log: SILENT };
  };
  try {
    const all = openModels(settings(config.model_list, config.agents.defaults.model_name));
    if (all === undefined) return undefined;
    const { name } = all.current();
    await all.close();
    // Alone, so that no other model hides its fault.
    const own = config.model_list.filter(({ model_name }) => model_name === name);
    const models = openModels(settings(own, name));
    if (models === undefined) return undefined;
    return { model: models.forTask(), name, close: () => models.close() };
  } catch (thrown) {
    // The configuration names one that cannot work: another check says so.
    if (thrown instanceof Failure && thrown.code === "config") return undefined;
    throw thrown;
  }
}

async function callCheck(model: Model, name: string, signal: AbortSignal): Promise<Diagnosis> {
  const facts = { code: CALL, name: `model ${name}` } as const;
  try {
    const { toolCalls } = await replyOf(model({ ...QUESTION, signal }));
    if (toolCalls.some((call) => call.name === TOOL.name)) {
      return { ...facts, result: "ok", message: "it answered, and called a tool" };
    }
    return {
      ...facts,
      result: "warn",
      message: "it answered, and did not call the tool that it was asked to call",
      remedy: "use a model that can call tools, if the agent is to do more than talk",
    };
  } catch (thrown) {
    signal.throwIfAborted();
    const failure = asFailure(thrown);
    const why = failure.why === undefined ? "" : `: ${failure.why}`;
    const fixes: Pick<Check, "remedy"> =
      failure.remedy === undefined ? {} : { remedy: failure.remedy };
    return { ...facts, result: "fail", message: `${failure.message}${why}`, ...fixes, failure };
  }
}

async function replyOf(stream: AsyncGenerator<string, Reply>): Promise<Reply> {
  for (;;) {
    const { done, value } = await stream.next();
    if (done) return value;
  }
}

function clockCheck(
  dates: { readonly server: number; readonly own: number } | undefined,
): Diagnosis {
  const facts = { code: CLOCK, name: "clock" } as const;
  if (dates === undefined) {
    return { ...facts, result: "skip", message: "the model's server did not tell the time" };
  }
  const seconds = Math.round((dates.own - dates.server) / 1000);
  const off = Math.abs(seconds);
  if (off < SLOW_S) {
    return { ...facts, result: "ok", message: "it agrees with that of the model's server" };
  }
  const [own, server] = [dates.own, dates.server].map((time) => new Date(time).toISOString());
  const direction = seconds > 0 ? "fast" : "slow";
  return {
    ...facts,
    result: off < WRONG_S ? "warn" : "fail",
    message: `this device's clock is ${spanOf(off)} ${direction}: it says ${own}, the model's server ${server}`,
    remedy: "set the clock: sudo timedatectl set-ntp true",
  };
}

function spanOf(seconds: number): string {
  if (seconds >= 172_800) return `${Math.round(seconds / 86_400)} days`;
  return seconds >= 7200
    ? `${Math.round(seconds / 3600)} hours`
    : `${Math.round(seconds / 60)} minutes`;
}
