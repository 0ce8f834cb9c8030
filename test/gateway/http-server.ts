import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";

export interface HttpServer extends AsyncDisposable {
  readonly port: number;
}

/** Serves on a free port of this machine. */
export async function startHttp(
  handler: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): Promise<HttpServer> {
  const server = createServer((request, response) => void handler(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
