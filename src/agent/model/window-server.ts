import type { Endpoint } from "./endpoint.ts";

/** Servers that tell the context window of their model. */
export type WindowServer = "llamacpp" | "vllm" | "ollama" | "openrouter" | "lmstudio";

const SERVERS: ReadonlySet<string> = new Set<WindowServer>([
  "llamacpp",
  "vllm",
  "ollama",
  "openrouter",
  "lmstudio",
]);

/** The server of an entry, by its provider, its host, or the port that only this server uses. */
export function windowServerOf({ protocol, base }: Endpoint): WindowServer | undefined {
  if (isServer(protocol)) return protocol;
  if (protocol !== "openai") return undefined;
  const { hostname, port } = new URL(base);
  if (hostname === "openrouter.ai") return "openrouter";
  if (port === "11434") return "ollama";
  return port === "1234" ? "lmstudio" : undefined;
}

function isServer(name: string): name is WindowServer {
  return SERVERS.has(name);
}
