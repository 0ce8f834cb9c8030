import { createServer } from "node:http";
import { SILENT } from "../../../src/base/log.ts";
import type { PageSources } from "../../../src/gateway/page/contract.ts";
import { createPage } from "../../../src/gateway/page/page.ts";

export const TOKEN = "a-token-of-24-characters";

export interface PageServer {
  readonly port: number;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A page on a port of this machine, a free one if none is given. */
export async function startPage(sources: PageSources, at = 0): Promise<PageServer> {
  const options = { token: () => Promise.resolve(TOKEN), hint: "/state/page-token", log: SILENT };
  const page = createPage({ sources, ...options });
  const server = createServer((request, response) => void page.serve(request, response));
  await new Promise<void>((resolve) => server.listen(at, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
