import { variable } from "../../base/host.ts";

/** How entries of a cloud's protocol find their base and their keys. */
export interface Cloud {
  /** The base for an `api_base`, which may be a region or empty, and for the keys; "" if a region is missing. */
  readonly base: (written: string, keys: readonly string[]) => string;
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

/** In a base: the project is in the file of the service account. */
export const UNKNOWN_PROJECT = "-";

/** Vertex AI, with the variables of Google's own programs. */
export const GOOGLE_CLOUD: Cloud = {
  base(written, keys) {
    const place = written.trim();
    if (place.includes("://")) return place;
    const hasAccount = keys.some(isCredentialsFile);
    if (place === "" && !hasAccount) {
      return "https://aiplatform.googleapis.com/v1/publishers/google";
    }
    const { project, location } = placeIn(place);
    if (!/^[a-z\d-]+$/.test(location) || (project === UNKNOWN_PROJECT && !hasAccount)) return "";
    const host = `${location === "global" ? "" : `${location}-`}aiplatform.googleapis.com`;
    return `https://${host}/v1/projects/${project}/locations/${location}/publishers/google`;
  },
  baseRemedy:
    "leave its key api_base empty for an API key of express mode, or set it to project/location, such as my-project/europe-west4",
  keys: () =>
    [variable("GOOGLE_APPLICATION_CREDENTIALS") || variable("GOOGLE_API_KEY") || ""].filter(
      Boolean,
    ),
  keyRemedy:
    "set its api_keys in .security.yml to an API key of Vertex AI or to the path of a service account's JSON file, or set GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_API_KEY",
};

/** The place in `project/location` or `location`, completed by the environment. */
function placeIn(place: string): { readonly project: string; readonly location: string } {
  const slash = place.indexOf("/");
  const location = place.slice(slash + 1) || variable("GOOGLE_CLOUD_LOCATION") || "global";
  const project = place.slice(0, Math.max(0, slash)) || variable("GOOGLE_CLOUD_PROJECT");
  return { project: project || UNKNOWN_PROJECT, location };
}

/** Whether a key of Vertex AI is the path of a file. */
export function isCredentialsFile(key: string): boolean {
  return key.endsWith(".json");
}
