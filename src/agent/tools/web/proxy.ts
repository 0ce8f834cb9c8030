import { Failure } from "../../../base/failure.ts";
import type { Fetch } from "../../model/contract.ts";
import { throughProxy } from "../../model/proxy.ts";

/** What asks through `tools.web.proxy`; where this runtime cannot, what to tell the model of it. */
export function proxiedFetch(fetch: Fetch, proxy: string): Fetch | string {
  try {
    return throughProxy(fetch, proxy, "tools.web");
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown;
    const { message, why } = thrown;
    return `error: ${message}${why === undefined ? "" : `: ${why}`}`;
  }
}
