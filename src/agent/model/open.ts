import type { pause } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { AgentDefaults, ModelEntry } from "../../config/contract.ts";
import { createCandidate } from "./candidate.ts";
import type { Candidate } from "./candidate.ts";
import type { Fetch } from "./contract.ts";
import { createProtocol } from "./dialects.ts";
import { endpointOf } from "./endpoint.ts";
import { requestHeaders } from "./http/settings.ts";
import { proxySecrets, throughProxy } from "./proxy.ts";
import { createRate } from "./rate.ts";

export interface OpenOptions {
  readonly defaults: AgentDefaults;
  readonly fetch: Fetch;
  readonly log: Log;
  /** Milliseconds. */
  readonly now: () => number;
  readonly pause: typeof pause;
}

/**
 * One entry of `model_list`, ready to be asked; nothing is sent yet. `twin` tells entries of one name
 * apart, as `.security.yml` does. Throws a `Failure` of code `config` where it can never work.
 */
export function openCandidate(
  entry: ModelEntry,
  twin: number | undefined,
  { defaults, fetch, log, now, pause }: OpenOptions,
): Candidate {
  const endpoint = endpointOf(entry);
  checkHeaders(entry, endpoint.label);
  const { keys, protocol: provider, model } = endpoint;
  const label =
    twin === undefined
      ? endpoint.label
      : `model_list ${JSON.stringify(`${entry.model_name}:${twin}`)}`;
  const patience = Math.min(defaults.turn_timeout_secs * 1000, MAX_PATIENCE_MS);
  return createCandidate({
    name: { name: entry.model_name, provider, model },
    label,
    protocol: createProtocol({
      settings: { endpoint, entry, defaults },
      fetch: throughProxy(fetch, entry.proxy, label),
      log,
    }),
    keys,
    secrets: secretsIn(entry, endpoint.base),
    fallbacks: entry.fallbacks,
    rate: createRate({ rpm: entry.rpm, label, patience, now, pause }),
    prices: entry.prices,
    request_timeout: entry.request_timeout,
    now,
    log,
  });
}

/** Milliseconds that a question waits for its place under `rpm`: whoever asks hears sooner that it is too long. */
const MAX_PATIENCE_MS = 300_000;

/** Said at start and without the value: some runtimes print a whole header that they refuse. */
function checkHeaders(entry: ModelEntry, label: string): void {
  try {
    requestHeaders(entry);
  } catch {
    throw new Failure("config", `${label} has a header that cannot be sent`, {
      why: "a name or a value in custom_headers, or user_agent, holds what no header may hold",
      remedy: "take one line of plain characters for each",
    });
  }
}

const SECRET = /auth|key|token|secret|cookie|sig/i;

/** Values that are secrets by what they are called, in headers and in the query of the base. */
function secretsIn(entry: ModelEntry, base: string): string[] {
  const headers = Object.entries(entry.custom_headers);
  const pairs = [
    ...headers.map(([name, value]) => [name, value.reveal()] as const),
    ...new URL(base).searchParams,
  ];
  const named = pairs.filter(([name]) => SECRET.test(name)).map(([, value]) => value);
  return [...named, ...proxySecrets(entry.proxy)];
}
