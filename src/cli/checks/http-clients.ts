import { haveCommandsNetwork } from "../../agent/access/permissions.ts";
import type { Diagnosis } from "../../base/contract.ts";
import { isLoopback } from "../../base/url.ts";
import type { Config } from "../../config/contract.ts";

/** Who can ask over HTTP; nothing if no program may. */
export function httpClientChecks(
  { gateway: { mcp, ollama, tokens }, tools }: Pick<Config, "gateway" | "tools">,
  host: string,
): readonly Diagnosis[] {
  const faces = [...(mcp.enabled ? ["MCP"] : []), ...(ollama.enabled ? ["Ollama"] : [])];
  if (faces.length === 0) return [];
  const facts = { code: "http.clients", name: "HTTP clients" } as const;
  const protocols = faces.join(" and ");
  const clients = Object.keys(tokens);
  if (clients.length > 0) {
    const message = `${protocols}: who shows a token may ask (${clients.join(", ")})`;
    return [{ ...facts, result: "ok", message }];
  }
  const remedy = "give each client a token, in .security.yml: gateway.tokens.<client>";
  if (haveCommandsNetwork(tools)) {
    const why = "commands of clients reach the port (tools.exec.allow_network)";
    const message = `${protocols}: nobody may ask without a token, because ${why}`;
    return [{ ...facts, result: "warn", message, remedy }];
  }
  const message = `${protocols}: programs of this machine may ask without a token, nobody else`;
  if (isLoopback(host)) return [{ ...facts, result: "ok", message }];
  return [
    { ...facts, result: "warn", message: `${message}, though it listens on ${host}`, remedy },
  ];
}
