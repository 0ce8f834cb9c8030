import { fetchTakesProxy } from "../../../base/host.ts";

/** What to tell where a proxy is wanted and this runtime has none to offer; undefined elsewhere. */
export function proxyFault(proxy: string): string | undefined {
  if (proxy === "" || fetchTakesProxy()) return undefined;
  return "error: tools.web.proxy is set, and this runtime cannot use a proxy; picoclaw as a binary can";
}
