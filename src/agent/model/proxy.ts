import { Failure } from "../../base/failure.ts";
import { proxyOptions } from "../../base/host.ts";
import { proxyError } from "../../base/network-error.ts";
import { decodeUrlPart } from "../../base/url.ts";
import type { Fetch } from "./contract.ts";

/**
 * A `fetch` through a proxy; with an empty one the environment decides. Throws a `Failure` of code `config`
 * for a proxy that this runtime does not support: it would silently connect without it.
 */
export function throughProxy(fetch: Fetch, proxy: string, label: string): Fetch {
  const written = proxy.trim();
  if (written === "") return fetch;
  const url = URL.parse(written);
  if (url === null || url.hostname === "") {
    throw new Failure("config", `${label} has a proxy that is no URL`, {
      remedy: "set its key proxy, as in http://host:3128",
    });
  }
  const options = proxyOptions(url);
  if (typeof options === "string") {
    throw new Failure("config", `${label} has a proxy that cannot be used here`, {
      why: options,
      remedy: "set its key proxy to an HTTP proxy, as in http://host:3128, or leave it empty",
    });
  }
  return async (address, init) => {
    try {
      return await fetch(address, { ...init, ...options });
    } catch (thrown) {
      throw proxyError(thrown);
    }
  };
}

/** User name and password of a proxy, as secrets. */
export function proxySecrets(proxy: string): string[] {
  const url = URL.parse(proxy.trim());
  if (url === null) return [];
  const written = [
    url.password,
    decodeUrlPart(url.password),
    url.username && url.password && url.username,
  ];
  return written.filter((secret) => secret !== "");
}
