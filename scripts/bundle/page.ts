import { gzipSync } from "node:zlib";
import { pageSources } from "../../src/gateway/page/files.ts";

/** What the browser gets from a gateway: each file by its name, in gzip and base64, as JSON. */
export async function pageFiles(): Promise<string> {
  const entries = [...(await pageSources())].map(([name, text]) => {
    return [name, gzipSync(text, { level: 9 }).toString("base64")] as const;
  });
  return JSON.stringify(Object.fromEntries(entries));
}
