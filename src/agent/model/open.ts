import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { AgentDefaults, ModelEntry } from "../../config/contract.ts";
import type { Fetch, Model } from "./contract.ts";
import { createProtocol } from "./dialects.ts";
import { endpointOf } from "./endpoint.ts";
import { requestHeaders } from "./http/settings.ts";
import { createModel } from "./model.ts";
import { proxySecrets, throughProxy } from "./proxy.ts";

export interface OpenModelOptions {
  readonly entry: ModelEntry;
  readonly defaults: AgentDefaults;
  readonly fetch: Fetch;
  readonly log: Log;
}

/**
 * The model of one entry of `model_list`, ready to be asked; nothing is sent yet. Throws a `Failure`
 * of code `config` where the entry can never work.
 */
export function openModel({ entry, defaults, fetch, log }: OpenModelOptions): Model {
  const endpoint = endpointOf(entry);
  checkHeaders(entry, endpoint.label);
  const { label, keys } = endpoint;
  log.info("the agent answers with a model", {
    model: entry.model_name,
    protocol: endpoint.protocol,
  });
  return createModel({
    protocol: createProtocol({
      settings: { endpoint, entry, defaults },
      fetch: throughProxy(fetch, entry.proxy, label),
      log,
    }),
    label,
    keys,
    secrets: secretsIn(entry, endpoint.base),
    request_timeout: entry.request_timeout,
    defaults,
    log,
  });
}

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
  const pairs = [...Object.entries(entry.custom_headers), ...new URL(base).searchParams];
  const named = pairs.filter(([name]) => SECRET.test(name)).map(([, value]) => value);
  return [...named, ...proxySecrets(entry.proxy)];
}
