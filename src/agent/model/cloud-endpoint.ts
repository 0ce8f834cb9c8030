import { variable } from "../../base/host.ts";

/** How entries of a cloud's protocol find their base and their keys. */
export interface Cloud {
  /** The base for an `api_base`, which may be a region or empty; "" if the environment names no region either. */
  readonly base: (written: string) => string;
  readonly baseRemedy: string;
  /** The keys of the environment, for an entry that has none. */
  readonly keys: () => readonly string[];
  readonly keyRemedy: string;
}

const REGION = /^[a-z]{2,}(?:-[a-z]+)+-\d+$/;

/** Amazon, with the variables of its own programs. */
export const AWS: Cloud = {
  base(written) {
    const place = written.trim() || variable("AWS_REGION") || variable("AWS_DEFAULT_REGION") || "";
    if (!REGION.test(place)) return place;
    return `https://bedrock-runtime.${place}.amazonaws.com${place.startsWith("cn-") ? ".cn" : ""}`;
  },
  baseRemedy: "set its key api_base, or the variable AWS_REGION, to a region such as us-east-1",
  keys() {
    const token = variable("AWS_BEARER_TOKEN_BEDROCK");
    if (token) return [token];
    const [id, secret] = [variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")];
    if (!id || !secret) return [];
    return [[id, secret, variable("AWS_SESSION_TOKEN") ?? ""].join(":").replace(/:$/, "")];
  },
  keyRemedy:
    "set its api_keys in .security.yml to an API key of Bedrock or to access key id:secret access key, or set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
};

/** The region in a base of Bedrock; otherwise that of the environment, or us-east-1. */
export function regionOf(base: string): string {
  const named = /bedrock-runtime(?:-fips)?\.([a-z\d-]+)\./.exec(new URL(base).hostname)?.[1];
  return named ?? (variable("AWS_REGION") || variable("AWS_DEFAULT_REGION") || "us-east-1");
}
