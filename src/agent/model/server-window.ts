import type { Log } from "../../base/log.ts";
import { at, listAt, textAt } from "../../base/unknown.ts";
import type { ModelEntry } from "../../config/contract.ts";
import type { EntryWindow } from "./context-window.ts";
import type { Fetch } from "./contract.ts";
import type { Endpoint } from "./endpoint.ts";
import type { WindowServer } from "./window-server.ts";

/** Milliseconds for all requests. */
const DEADLINE_MS = 2000;
/** Below this Ollama's window deserves a warning: its default is 4,096. */
const SMALL = 8192;

interface WindowQuestion {
  readonly server: WindowServer;
  readonly endpoint: Endpoint;
  readonly entry: Pick<ModelEntry, "custom_headers">;
  readonly window: EntryWindow;
  readonly fetch: Fetch;
  readonly log: Log;
}

/** Asks the server of an entry for its window, and notes it. Never rejects. */
export async function noteServerWindow(question: WindowQuestion): Promise<void> {
  const { server, endpoint, entry, window, fetch, log } = question;
  const { keys, label: model } = endpoint;
  const headers = new Headers({ accept: "application/json" });
  if (keys[0] !== undefined) headers.set("authorization", `Bearer ${keys[0]}`);
  for (const [name, value] of Object.entries(entry.custom_headers)) {
    headers.set(name, value.reveal());
  }
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const get = async (url: string): Promise<unknown> => {
    try {
      const response = await fetch(url, { headers, signal, redirect: "manual" });
      if (response.ok) return await response.json();
      await response.body?.cancel();
    } catch {
      // A server that does not tell is used all the same.
    }
    return undefined;
  };
  const tokens = await askWindow(server, endpoint, get);
  if (tokens === undefined) return;
  window.setByServer(tokens);
  log.debug("the server tells its context window", { model, tokens });
  if (server !== "ollama" || tokens >= SMALL) return;
  const what =
    "the context window is small: Ollama has it from OLLAMA_CONTEXT_LENGTH, or from num_ctx in the Modelfile; requests cannot change it";
  log.warn(what, { model, tokens });
}

/** GETs a path from a server; undefined if that fails. */
type GetJson = (url: string) => Promise<unknown>;

/** Asks a server for the context window of its model, in tokens; undefined if it does not tell. */
async function askWindow(
  server: WindowServer,
  { base, model }: Pick<Endpoint, "base" | "model">,
  get: GetJson,
): Promise<number | undefined> {
  const root = base.replace(/\/v1$/, "");
  const tokens = await WINDOW_OF[server](root, model, get);
  return typeof tokens === "number" && Number.isInteger(tokens) && tokens >= LEAST
    ? tokens
    : undefined;
}

/** A smaller number is no window. */
const LEAST = 512;

type WindowOf = (root: string, model: string, get: GetJson) => Promise<unknown>;

const WINDOW_OF: Readonly<Record<WindowServer, WindowOf>> = {
  /** `/props` has the context of one slot; a server of several models tells it in `/v1/models`. */
  async llamacpp(root, model, get) {
    const own = at(at(await get(`${root}/props`), "default_generation_settings"), "n_ctx");
    if (typeof own === "number" && own > 0) return own;
    const found = entryOf(listAt(await get(`${root}/v1/models`), "data"), model);
    return at(at(found, "meta"), "n_ctx");
  },
  async vllm(root, model, get) {
    return at(entryOf(listAt(await get(`${root}/v1/models`), "data"), model), "max_model_len");
  },
  /** The context of a model that is loaded, and not the most that the model could have. */
  async ollama(root, model, get) {
    const models = listAt(await get(`${root}/api/ps`), "models");
    const found = models.find((one) =>
      [textAt(one, "name"), textAt(one, "model")].some(
        (name) => name === model || name === `${model}:latest`,
      ),
    );
    return at(found, "context_length");
  },
  /** The largest of a model's providers: OpenRouter sends a long conversation there. */
  async openrouter(root, model, get) {
    const url = `${root}/v1/models/${model}/endpoints`;
    const endpoints = listAt(at(await get(url), "data"), "endpoints");
    return Math.max(0, ...endpoints.map((one) => Number(at(one, "context_length")) || 0));
  },
  async lmstudio(root, model, get) {
    const found = entryOf(listAt(await get(`${root}/api/v0/models`), "data"), model);
    return at(found, "loaded_context_length");
  },
};

function entryOf(models: readonly unknown[], id: string): unknown {
  return models.find((one) => textAt(one, "id") === id);
}
