import { connect } from "node:net";
import { listAt, textAt } from "../../base/unknown.ts";

/** A model that could answer, as it is written in `model_list`. */
export interface FoundModel {
  /** `openai/gpt-5.4`. */
  readonly model: string;
  /** "" for that of the provider. */
  readonly apiBase: string;
  /** The variable of its key; undefined if it needs none. */
  readonly variable?: string;
}

/** What this machine has. */
export interface Discovery {
  /** Whether a program accepts connections on the port of MQTT. */
  readonly hasBroker: boolean;
  /** The best first. */
  readonly models: readonly FoundModel[];
}

export interface DiscoveryOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly fetch: (url: string, init: { readonly signal: AbortSignal }) => Promise<Response>;
  readonly isOpen: (port: number) => Promise<boolean>;
}

const PROBE_MS = 700;
const BROKER_PORT = 1883;
/** Servers of this machine by the names that `model` begins with. */
const SERVERS: readonly (readonly [provider: string, port: number])[] = [
  ["ollama", 11_434],
  ["lmstudio", 1234],
  ["llamacpp", 8080],
  ["vllm", 8000],
];
/** Providers with the variables of their keys, and the model to begin with. */
const CLOUDS: readonly (readonly [model: string, variables: readonly string[]])[] = [
  ["openai/gpt-5.4", ["OPENAI_API_KEY"]],
  ["anthropic/claude-sonnet-4-5", ["ANTHROPIC_API_KEY"]],
  ["gemini/gemini-3-flash-preview", ["GEMINI_API_KEY", "GOOGLE_API_KEY"]],
];

/** Looks for brokers, keys and model servers, all at the same time; takes at most a second. */
export async function discover({ env, fetch, isOpen }: DiscoveryOptions): Promise<Discovery> {
  const [hasBroker, ...local] = await Promise.all([
    isOpen(BROKER_PORT),
    ...SERVERS.map(([provider, port]) => localModel(provider, port, fetch)),
  ]);
  const clouds = CLOUDS.flatMap(([model, variables]): FoundModel[] => {
    const variable = variables.find((name) => env[name]);
    if (variable === undefined) return [];
    return [{ model, apiBase: baseIn(env, model), variable }];
  });
  return { hasBroker, models: [...clouds, ...local.filter((found) => found !== undefined)] };
}

/** The variable that holds the key of a model, if one is set. */
export function keyVariableOf(model: string, env: DiscoveryOptions["env"]): string | undefined {
  const [provider = ""] = model.split("/");
  const known = CLOUDS.find(([name]) => name.startsWith(`${provider}/`))?.[1];
  const usual = `${provider.toUpperCase().replaceAll(/[^A-Z\d]/g, "_")}_API_KEY`;
  return (known ?? [usual]).find((name) => env[name]);
}

/** The address that the programs of OpenAI use, too. */
export function baseIn(env: DiscoveryOptions["env"], model: string): string {
  return model.startsWith("openai/") ? (env["OPENAI_BASE_URL"] ?? "") : "";
}

async function localModel(
  provider: string,
  port: number,
  fetch: DiscoveryOptions["fetch"],
): Promise<FoundModel | undefined> {
  try {
    const signal = AbortSignal.timeout(PROBE_MS);
    const response = await fetch(`http://localhost:${port}/v1/models`, { signal });
    const json: unknown = await response.json();
    const names = listAt(json, "data").map((item) => textAt(item, "id"));
    const name = names.find((one) => isModelName(one) && !/embed/i.test(one));
    return name === undefined ? undefined : { model: `${provider}/${name}`, apiBase: "" };
  } catch {
    return undefined;
  }
}

/** Any program of this machine can listen there: a name that is none is not shown. */
function isModelName(text: string): boolean {
  return /^[\w./:@+-]{1,120}$/.test(text);
}

/** Whether a port of this machine accepts connections. */
export async function isPortOpen(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host: "localhost", port });
  socket.once("connect", () => resolve(true));
  socket.on("error", () => resolve(false));
  const timer = setTimeout(() => resolve(false), PROBE_MS);
  const isOpen = await promise;
  clearTimeout(timer);
  socket.destroy();
  return isOpen;
}
