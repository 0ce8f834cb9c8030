import { codeOf, messageOf } from "./failure.ts";

/** Plain words by the codes of Bun and node, and by the texts of all runtimes; the first match counts. */
const MESSAGES: readonly (readonly [RegExp, string])[] = [
  [/PROXY_UNREACHABLE/, "the proxy cannot be reached"],
  [/proxy refused|proxy authentication|unsuccessful tunnel/i, "the proxy refused the connection"],
  [/ECONNREFUSED|connection refused/i, "the server refused the connection"],
  [
    /CERT_HAS_EXPIRED|certificate has expired|certificate[^]*\bexpired/i,
    "the server's certificate has expired",
  ],
  [
    /ALTNAME_INVALID|HOSTNAME_MISMATCH|NotValidForName|hostname mismatch|does not match certificate/i,
    "the server's certificate is for another host name",
  ],
  [
    /SELF_SIGNED|self.signed|UNABLE_TO_|unable to (?:get|verify)|invalid peer certificate|\bCERT_/i,
    "the server's certificate is not trusted",
  ],
  [
    /WRONG_VERSION_NUMBER|wrong version number|packet length too long|InvalidContentType|EPROTO|handshake failed/i,
    "the server does not speak TLS on this port",
  ],
  [
    /HPE_|does not match the HTTP|invalid HTTP version|Malformed_HTTP/i,
    "the server does not speak HTTP on this port",
  ],
  [
    /ECONNRESET|UND_ERR_SOCKET|connection (?:was )?(?:closed|reset)|reading a body/i,
    "the server closed the connection",
  ],
  [/ENOTFOUND|dns error/i, "the host name is unknown"],
  [/EAI_AGAIN/, "the host name cannot be resolved right now"],
  [/ETIMEDOUT|UND_ERR_CONNECT_TIMEOUT|timed out/i, "the connection timed out"],
  [/EHOSTUNREACH|ENETUNREACH|unreachable/i, "there is no route to the host"],
];

const NOT_CONNECTED =
  /ECONNREFUSED|connection refused|ENOTFOUND|dns error|EAI_AGAIN|ETIMEDOUT|UNREACH|timed out/i;

/** The error of a request through a proxy: without a connection it is the proxy's, whatever host it names. */
export function proxyError(thrown: unknown): unknown {
  if (!NOT_CONNECTED.test(wordsOf(thrown))) return thrown;
  return Object.assign(new Error("no proxy", { cause: thrown }), { code: "PROXY_UNREACHABLE" });
}

/** The code and the text of an error, or of its cause: the error of `fetch` itself says nothing more. */
function wordsOf(thrown: unknown): string {
  const cause = causeOf(thrown);
  return `${codeOf(cause)} ${messageOf(cause)}`;
}

function causeOf(thrown: unknown): unknown {
  return thrown instanceof TypeError && thrown.cause instanceof Error ? thrown.cause : thrown;
}

/**
 * A network error in plain words. Others are in the runtime's own words, without the URL, which may hold secrets,
 * and without its advice to programmers.
 */
export function networkMessage(thrown: unknown): string {
  const words = wordsOf(thrown);
  const known = MESSAGES.find(([pattern]) => pattern.test(words))?.[1];
  if (known !== undefined) return known;
  return messageOf(causeOf(thrown))
    .replace(/^error sending request .*?: (?=client error|error)/s, "")
    .replaceAll(/\bhttps?:\/\/\S+/g, "…")
    .replace(/\. For more information, pass .*$/s, "");
}
