import { codeOf } from "../../../base/code.ts";
import type { Fetch } from "../../model/contract.ts";
import type { Ask } from "./search.ts";
import { SearchFault } from "./search.ts";

/** Bytes of an answer, decompressed. */
const MAX_BYTES = 2 * 2 ** 20;

export interface AskOptions {
  readonly fetch: Fetch;
  readonly signal: AbortSignal;
}

/** Sends requests to a search. Redirects are not followed: a key must not travel to another host. */
export function createAsk({ fetch, signal }: AskOptions): Ask {
  return async (url, { method = "GET", headers = {}, body } = {}) => {
    const response = await fetch(url, {
      method,
      headers,
      signal,
      redirect: "manual",
      ...(body !== undefined && { body }),
    }).catch((error: unknown) => {
      signal.throwIfAborted();
      throw new SearchFault(wordsFor(error));
    });
    try {
      if (response.status !== 200) {
        throw new SearchFault(`it answers ${response.status}`, response.status);
      }
      return await textOf(response, signal);
    } finally {
      // What is left of the body is not wanted.
      response.body?.cancel().catch(() => {});
    }
  };
}

async function textOf(response: Response, signal: AbortSignal): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let length = 0;
  const reader = response.body?.getReader();
  try {
    for (;;) {
      const step = await reader?.read();
      if (step?.value === undefined) return text + decoder.decode();
      length += step.value.length;
      if (length > MAX_BYTES) throw new SearchFault("its answer is too large");
      text += decoder.decode(step.value, { stream: true });
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SearchFault) throw error;
    throw new SearchFault("its answer broke off");
  } finally {
    reader?.cancel().catch(() => {});
    reader?.releaseLock();
  }
}

/** The runtimes' own words tell addresses; their codes do not. */
function wordsFor(error: unknown): string {
  const code = codeOf(error);
  const named = /^\w{3,40}$/.test(code) ? ` (${code})` : "";
  return `it cannot be reached${named}`;
}
