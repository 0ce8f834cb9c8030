import type { pause } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { nearestWord } from "../../base/spelling.ts";
import { truncate } from "../../base/truncate.ts";
import type { AgentDefaults, ModelEntry } from "../../config/contract.ts";
import { Candidate } from "./candidate.ts";
import type { ModelName } from "./candidate.ts";
import { EntryWindow } from "./context-window.ts";
import type { Fetch, Protocol } from "./contract.ts";
import { endpointOf } from "./endpoint.ts";
import type { Dialect, Endpoint } from "./endpoint.ts";
import { hasBothApis } from "./http/openai-request.ts";
import { requestHeaders } from "./http/protocol.ts";
import type { RequestSettings } from "./http/protocol.ts";
import type { ModelMemory } from "./memory.ts";
import { createChatProtocol } from "./protocols/openai.ts";
import { proxySecrets, throughProxy } from "./proxy.ts";
import { createRate } from "./rate.ts";
import { DEFAULT_MAX_TOKENS, isThinkingLost } from "./thinking.ts";
import { windowServerOf } from "./window-server.ts";

export interface OpenOptions {
  readonly memory: ModelMemory;
  readonly defaults: AgentDefaults;
  readonly fetch: Fetch;
  readonly log: Log;
  /** Milliseconds. */
  readonly now: () => number;
  readonly pause: typeof pause;
}

/**
 * Opens one entry of `model_list`. Sends nothing. `twin` numbers entries of one name, as `.security.yml` does.
 * Throws a `Failure` of code `config` if the entry can never work.
 */
export function openCandidate(
  entry: ModelEntry,
  twin: number | undefined,
  { memory, defaults, fetch, log, now, pause }: OpenOptions,
): Candidate {
  const endpoint = endpointOf(entry);
  checkHeaders(entry, endpoint.label);
  warnOfLostThinking({ endpoint, entry, defaults }, log);
  const { keys, protocol: provider, model } = endpoint;
  const createProtocol = protocolCreatorOf(entry, endpoint);
  const label =
    twin === undefined
      ? endpoint.label
      : `model_list ${JSON.stringify(`${entry.model_name}:${twin}`)}`;
  const learned = memory.entry(entry, endpoint, defaults);
  const patience = Math.min(defaults.turn_timeout_secs * 1000, MAX_PATIENCE_MS);
  const asking = throughProxy(fetch, entry.proxy, label);
  const server = windowServerOf(endpoint);
  const window = new EntryWindow(defaults, {
    memory: learned,
    mayCut: isOwnServer(endpoint, entry),
  });
  return new Candidate({
    name: { name: entry.model_name, provider, model },
    label,
    protocol: createProtocol({ endpoint, entry, defaults, memory: learned }, asking),
    keys,
    secrets: secretsOf(entry, endpoint),
    fallbacks: entry.fallbacks,
    rate: createRate({ rpm: entry.rpm, label, patience, now, pause }),
    window,
    ...(server && {
      async askWindow() {
        const { noteServerWindow } = await import("./server-window.ts");
        await noteServerWindow({ server, endpoint, entry, window, fetch: asking, log });
      },
    }),
    memory: learned,
    prices: entry.prices,
    request_timeout: entry.request_timeout,
    now,
    log,
  });
}

/** Whether a server is the user's own, as far as one can see, and no provider's. */
function isOwnServer({ facts }: Endpoint, { api_base }: ModelEntry): boolean {
  return facts.keyless === true || api_base.trim() !== "";
}

type CreateProtocol = (settings: RequestSettings, fetch: Fetch) => Protocol;

const CREATE_PROTOCOL: Readonly<Record<Dialect, CreateProtocol>> = {
  "chat-completions": createChatProtocol,
  azure: createChatProtocol,
  anthropic: whenCalled(
    async () => (await import("./protocols/anthropic.ts")).createMessagesProtocol,
  ),
  gemini: whenCalled(async () => (await import("./protocols/gemini.ts")).createGeminiProtocol),
  vertex: whenCalled(async () => (await import("./protocols/vertex.ts")).createVertexProtocol),
  bedrock: whenCalled(async () => (await import("./protocols/bedrock.ts")).createBedrockProtocol),
};

const createResponsesProtocol = whenCalled(
  async () => (await import("./protocols/responses.ts")).createResponsesProtocol,
);

const createChatOrResponses = whenCalled(
  async () => (await import("./protocols/chat-or-responses.ts")).createChatOrResponses,
);

/** A protocol that is loaded with its first call. */
function whenCalled(load: () => Promise<CreateProtocol>): CreateProtocol {
  return (settings, fetch) => {
    let loaded: Promise<Protocol> | undefined;
    return async function* call(attempt) {
      loaded ??= load().then((create) => create(settings, fetch));
      return yield* (await loaded)(attempt);
    };
  };
}

/** The configured protocol, otherwise that of the provider. */
function protocolCreatorOf({ protocol }: ModelEntry, endpoint: Endpoint): CreateProtocol {
  if (protocol === "responses") return createResponsesProtocol;
  if (protocol === "chat") return createChatProtocol;
  const create = CREATE_PROTOCOL[endpoint.facts.dialect ?? "chat-completions"];
  return create === createChatProtocol && hasBothApis(endpoint) ? createChatOrResponses : create;
}

/** Milliseconds that a call may wait under `rpm`; a longer wait fails at once. */
const MAX_PATIENCE_MS = 300_000;

/** Checked at the start, and without the value in the message: some runtimes print a header that they refuse. */
function checkHeaders(entry: ModelEntry, label: string): void {
  try {
    requestHeaders(entry);
  } catch {
    throw new Failure("config", `${label} has a header that cannot be sent`, {
      why: "a name or a value in custom_headers, or user_agent, has characters that no header may have",
      remedy: "use one line of plain characters for each",
    });
  }
}

function warnOfLostThinking({ endpoint, entry, defaults }: RequestSettings, log: Log): void {
  const { dialect, thinking } = endpoint.facts;
  const isOnBedrock = dialect === "bedrock" && /claude/i.test(endpoint.model);
  if (dialect !== "anthropic" && thinking !== "anthropic" && !isOnBedrock) return;
  const { max_tokens } = defaults;
  const maxTokens = max_tokens || DEFAULT_MAX_TOKENS;
  const request = { level: entry.thinking_level, model: endpoint.model, maxTokens };
  if (!isThinkingLost(request)) return;
  log.warn("the model will not think: agents.defaults.max_tokens is too small for it", {
    model: endpoint.label,
    max_tokens,
  });
}

const SECRET = /auth|key|token|secret|cookie|sig/i;

/** The keys, and values of headers and of the base's query whose names say that they are secrets. */
function secretsOf(entry: ModelEntry, { keys, base, facts }: Endpoint): string[] {
  const headers = Object.entries(entry.custom_headers);
  const pairs = [
    ...headers.map(([name, value]) => [name, value.reveal()] as const),
    ...new URL(base).searchParams,
  ];
  const named = pairs.filter(([name]) => SECRET.test(name)).map(([, value]) => value);
  // A key of Amazon is an id, a secret and a token.
  const parts = facts.cloud === undefined ? [] : keys.flatMap((key) => key.split(":"));
  const secrets = [...keys, ...parts, ...named, ...proxySecrets(entry.proxy)];
  return secrets.filter(({ length }) => length > 3);
}

/** An entry of `model_list`, opened or failed. */
export interface OpenedEntry {
  readonly entry: ModelEntry;
  /** A failure of code `config` if the entry cannot work. */
  readonly opened: Candidate | Failure;
}

/** Characters of a quoted name from outside. */
const MAX_QUOTED = 60;

/**
 * The entries for a name: those with that `model_name`, otherwise those whose model has that id, with or
 * without its provider. All of one `model_name`: they share the calls.
 */
export function entriesNamed(name: string, entries: readonly OpenedEntry[]): OpenedEntry[] {
  const named = entries.filter(({ entry }) => entry.model_name === name);
  if (named.length > 0) return named;
  const identified = entries.filter((one) => idsOf(one).includes(name));
  const lead = identified.find((one) => usable([one]).length > 0) ?? identified[0];
  return identified.filter(({ entry }) => entry.model_name === lead?.entry.model_name);
}

function idsOf({ entry, opened }: OpenedEntry): string[] {
  const ids = [entry.model, `${entry.provider}/${entry.model}`];
  if (!(opened instanceof Failure)) ids.push(`${opened.name.provider}/${opened.name.model}`);
  return ids;
}

/** The entries for a name that are enabled and can work. */
export function usableNamed(name: string, entries: readonly OpenedEntry[]): Candidate[] {
  return usable(entriesNamed(name, entries));
}

/** The entries that are enabled and can work. */
export function usable(entries: readonly OpenedEntry[]): Candidate[] {
  return candidatesOf(entries.filter(({ entry }) => entry.enabled));
}

/** The entries that can work, enabled or not. */
export function candidatesOf(entries: readonly OpenedEntry[]): Candidate[] {
  return entries
    .map(({ opened }) => opened)
    .filter((opened): opened is Candidate => !(opened instanceof Failure));
}

/** The reason why a name has no usable entry. */
export function whyUnusable(name: string, entries: readonly OpenedEntry[]): string {
  const named = entriesNamed(name, entries);
  const failure = named.map(({ opened }) => opened).find((opened) => opened instanceof Failure);
  if (named.length === 0) return "it is not in model_list";
  if (named.every(({ entry }) => !entry.enabled)) return "it is not enabled in model_list";
  return failure?.message ?? "it cannot be used";
}

/** The failure for an unknown `agents.defaults.model_name`. */
export function unknownModel(name: string, entries: readonly OpenedEntry[]): Failure {
  const names = entries.map(({ entry }) => entry.model_name);
  const nearest = nearestWord(name, names);
  return new Failure(
    "config",
    `agents.defaults.model_name is ${JSON.stringify(name)}, which is not in model_list`,
    {
      why: entries.length === 0 ? "model_list is empty" : `known are ${listed(names)}`,
      remedy:
        nearest === undefined
          ? "add it to model_list, or leave model_name empty"
          : `did you mean ${nearest}?`,
    },
  );
}

/** The failure for a name that `switchTo` cannot use. */
export function unusableModel(
  name: string,
  entries: readonly OpenedEntry[],
  known: readonly ModelName[],
): Failure {
  const names = known.map((model) => model.name);
  const nearest = nearestWord(name, names);
  const quoted = JSON.stringify(truncate(name, MAX_QUOTED).toWellFormed());
  return new Failure("usage", `there is no model ${quoted} to switch to`, {
    why: whyUnusable(name, entries),
    remedy: nearest === undefined ? `known are ${listed(names)}` : `did you mean ${nearest}?`,
  });
}

function listed(words: readonly string[]): string {
  const names = [...new Set(words)];
  const more = names.length > 8 ? ` and ${names.length - 8} more` : "";
  return names.slice(0, 8).join(", ") + more;
}
