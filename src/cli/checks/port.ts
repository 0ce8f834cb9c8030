import { get } from "node:http";
import { createServer } from "node:net";
import type { Diagnosis } from "../../base/contract.ts";
import { codeOf } from "../../base/failure.ts";
import { at, fromJson } from "../../base/unknown.ts";

const ANSWER_MS = 1_500;
const MOST_BYTES = 4_096;

/** Whether a gateway could listen for HTTP, or one does already. */
export async function portCheck(host: string, port: number): Promise<Diagnosis> {
  const facts = { code: "http.port", name: `port ${port}` } as const;
  if (port === 0) return { ...facts, result: "ok", message: "a free one is chosen at each start" };
  const hosts = host === "localhost" ? ["127.0.0.1", "::1"] : [host];
  const codes = await Promise.all(hosts.map((one) => listenCode(one, port)));
  const taken = hosts.find((_, index) => codes[index] === "EADDRINUSE");
  if (taken !== undefined) {
    const pid = await gatewayAt(taken, port);
    if (pid !== undefined) {
      return { ...facts, result: "ok", message: `a gateway runs there (pid ${pid})` };
    }
    const message = `another program listens on port ${port} of ${taken}, which a gateway needs (gateway.port)`;
    const remedy = `stop it (who it is: ss -ltnp sport = :${port}), or set PICOCLAW_GATEWAY_PORT or gateway.port to a free one`;
    return { ...facts, result: "fail", message, remedy };
  }
  const [code = ""] = codes;
  if (code === "") return { ...facts, result: "ok", message: `it is free on ${host}` };
  const message = `a gateway cannot listen on ${host} port ${port} (${code})`;
  const remedy = "set gateway.host to an address of this machine, and gateway.port above 1023";
  return { ...facts, result: "fail", message, remedy };
}

/** "" if it can be listened on. */
function listenCode(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error) => resolve(codeOf(error) || error.message));
    server.listen(port, host, () => server.close(() => resolve("")));
  });
}

/** The process of the gateway that answers there. */
function gatewayAt(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const nothing = (): void => resolve(undefined);
    const request = get(
      { host, port, path: "/health", timeout: ANSWER_MS, agent: false },
      (reply) => {
        let text = "";
        reply.setEncoding("utf8").on("data", (data: string) => {
          text += data;
          if (text.length > MOST_BYTES) request.destroy();
        });
        reply.on("error", nothing);
        reply.on("end", () => resolve(pidIn(text)));
      },
    );
    request.on("timeout", () => request.destroy());
    request.on("error", nothing);
    request.on("close", nothing);
  });
}

function pidIn(text: string): string | undefined {
  try {
    const found = fromJson(text);
    const isGateway = at(found, "status") === "ok" && typeof at(found, "uptime") === "number";
    return isGateway ? String(at(found, "pid")) : undefined;
  } catch {
    return undefined;
  }
}
