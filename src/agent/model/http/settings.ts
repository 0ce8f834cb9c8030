import { VERSION } from "../../../base/version.ts";
import type { AgentDefaults, ModelEntry } from "../../../config/contract.ts";
import type { Endpoint } from "../endpoint.ts";

/** What of the configuration goes into a request. */
export interface RequestSettings {
  readonly endpoint: Endpoint;
  readonly entry: ModelEntry;
  readonly defaults: Pick<AgentDefaults, "max_tokens" | "temperature">;
}

/** The headers of one request: the dialect's own on top of everyone's; those of `custom_headers` win. */
export function requestHeaders(
  entry: Pick<ModelEntry, "user_agent" | "custom_headers">,
  own: Readonly<Record<string, string>> = {},
): Headers {
  const headers = new Headers({
    "content-type": "application/json",
    accept: "text/event-stream, application/json",
    "user-agent": entry.user_agent || `PicoClaw/${VERSION}`,
    ...own,
  });
  for (const [name, value] of Object.entries(entry.custom_headers))
    headers.set(name, value.reveal());
  return headers;
}
