import { createHash, createHmac } from "node:crypto";

export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary credentials. */
  readonly sessionToken?: string | undefined;
}

export interface SignedParts {
  readonly method: string;
  /** With its escapes as it is sent. */
  readonly url: URL;
  readonly body: string;
  /** Further headers to sign, with lower-case names. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface SigningScope {
  readonly credentials: AwsCredentials;
  readonly region: string;
  readonly service: string;
  readonly date: Date;
}

const ALGORITHM = "AWS4-HMAC-SHA256";

/**
 * Returns the headers that sign a request: `authorization`, `x-amz-date`, and the session's token (AWS Signature
 * Version 4, docs.aws.amazon.com/IAM, "Create a signed AWS API request"). Escapes the path once more, as all
 * services but S3 require.
 */
export function signatureHeaders(
  { method, url, body, headers = {} }: SignedParts,
  { credentials, region, service, date }: SigningScope,
): Record<string, string> {
  const time = date.toISOString().replaceAll(/[-:]|\.\d{3}/g, "");
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const own = {
    "x-amz-date": time,
    ...(sessionToken !== undefined && { "x-amz-security-token": sessionToken }),
  };
  const signed = Object.entries({ ...headers, host: url.host, ...own }).toSorted(byName);
  const names = signed.map(([name]) => name).join(";");
  const canonical = [
    method,
    url.pathname.split("/").map(escaped).join("/"),
    canonicalQuery(url.searchParams),
    ...signed.map(([name, value]) => `${name}:${value.trim().replaceAll(/ +/g, " ")}`),
    "",
    names,
    sha256(body),
  ].join("\n");
  const day = time.slice(0, 8);
  const scope = `${day}/${region}/${service}/aws4_request`;
  const toSign = [ALGORITHM, time, scope, sha256(canonical)].join("\n");
  const key = [day, region, service, "aws4_request"].reduce<string | Buffer>(
    (secret, part) => hmac(secret, part),
    `AWS4${secretAccessKey}`,
  );
  const signature = hmac(key, toSign).toString("hex");
  const authorization = `${ALGORITHM} Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
  return { ...own, authorization };
}

type Pair = readonly [string, string];

function byName([left, leftValue]: Pair, [right, rightValue]: Pair): number {
  if (left === right) return leftValue < rightValue ? -1 : 1;
  return left < right ? -1 : 1;
}

function canonicalQuery(parameters: URLSearchParams): string {
  return [...parameters]
    .map(([name, value]): Pair => [escaped(name), escaped(value)])
    .toSorted(byName)
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

/** RFC 3986: all but the unreserved characters. */
function escaped(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
