import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Server } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import { proxyOptions } from "../../../src/base/host.ts";
import { collect, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { run } from "../../support/channel.ts";
import { refuses, sends, startModelServer } from "../../support/model-server.ts";
import type { Behaviour } from "../../support/model-server.ts";
import { openModel, type EntryChanges } from "../../support/model.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const QUERY = "?api-key=hidden-by-the-query";

/** Texts of runtimes, which are for programmers. */
const OF_RUNTIMES =
  /verbose|use-system-ca|sending request|SSL routines|For more information|peer cert/i;

interface Expected {
  readonly message: RegExp;
  readonly why: RegExp;
  readonly remedy?: RegExp;
  readonly retryAfter?: number;
}

async function assertFailure(entry: EntryChanges, expected: Expected): Promise<void> {
  const model = openModel({ entry, defaults: { max_llm_retries: 0 } });
  const failure = await modelFailureOf(collect(model(questionOf())));
  const { message, why = "", remedy = "", retryAfter } = failure;
  assert.match(message, expected.message);
  assert.match(why, expected.why);
  if (expected.remedy) assert.match(remedy, expected.remedy);
  assert.equal(retryAfter, expected.retryAfter);
  const address = new URL(entry.api_base ?? "");
  assert.ok(why.includes(`(asked ${address.origin}${address.pathname}/chat/completions)`), why);
  assert.doesNotMatch(`${message} ${why} ${remedy}`, OF_RUNTIMES);
  assert.doesNotMatch(`${message} ${why} ${remedy}`, /hidden-by/);
}

async function listen(server: Server): Promise<AsyncDisposable & { readonly port: number }> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address !== "string");
  return {
    port: address.port,
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      server.close();
      await once(server, "close");
    },
  };
}

async function deadPort(): Promise<number> {
  await using closed = await listen(createServer());
  return closed.port;
}

/** A server with a certificate that it signed itself. */
async function tlsServer(folder: string): Promise<Server> {
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
  const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ${key} -out ${certificate} -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost`;
  await run("openssl", ...words.split(" "));
  return createTlsServer({ key: await readFile(key), cert: await readFile(certificate) });
}

const UNREACHABLE = /could not be reached/;

describe("the cause of a call without an answer", () => {
  it("is a port without a server", async () => {
    await assertFailure(
      { api_base: `http://127.0.0.1:${await deadPort()}/v1${QUERY}` },
      { message: UNREACHABLE, why: /: the server refused the connection \(/ },
    );
  });

  it("is a wrong host name", async () => {
    for (const scheme of ["http", "https"]) {
      await assertFailure(
        { api_base: `${scheme}://no-such-host.invalid/v1${QUERY}` },
        {
          message: UNREACHABLE,
          why: /: the host name (?:is unknown|cannot be resolved right now) \(/,
        },
      );
    }
  });

  it("is a certificate, and the scheme of the address", async () => {
    await using folder = await temporaryFolder();
    await using tls = await listen(await tlsServer(folder.path));
    await using plain = await listen(createServer((_, response) => response.end("{}")));
    await assertFailure(
      { api_base: `https://localhost:${tls.port}/v1${QUERY}` },
      { message: UNREACHABLE, why: /: the server's certificate is not trusted \(/ },
    );
    await assertFailure(
      { api_base: `https://localhost:${plain.port}/v1${QUERY}` },
      { message: UNREACHABLE, why: /: the server does not speak TLS on this port \(/ },
    );
    // To Bun it is a connection that the server closed.
    await assertFailure(
      { api_base: `http://127.0.0.1:${tls.port}/v1${QUERY}` },
      { message: UNREACHABLE, why: /: the server (?:does not speak HTTP on this|closed the conn)/ },
    );
  });

  const url = new URL("http://127.0.0.1:1");
  const noProxy =
    typeof proxyOptions(url) === "string" && "this runtime has no proxy for one entry";
  it("is a proxy that refuses, or is not there", { skip: noProxy }, async () => {
    const server = createServer((_, response) => {
      response.writeHead(407).end("<html>squid</html>");
    });
    server.on("connect", (_, socket) => {
      socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    });
    await using refusing = await listen(server);
    await assertFailure(
      {
        api_base: `https://localhost:8443/v1${QUERY}`,
        proxy: `http://127.0.0.1:${await deadPort()}`,
      },
      { message: UNREACHABLE, why: /: the proxy cannot be reached \(/ },
    );
    for (const scheme of ["http", "https"]) {
      await assertFailure(
        {
          api_base: `${scheme}://localhost:8443/v1${QUERY}`,
          proxy: `http://user:hidden-by-name@127.0.0.1:${refusing.port}`,
        },
        { message: UNREACHABLE, why: /: the proxy refused the connection/ },
      );
    }
  });
});

const json = (body: string): Behaviour => sends(body, { type: "application/json" });

const error = (message: string, code: string): Record<string, unknown> => ({
  error: { message, code },
});

const ANSWERED: Readonly<Record<string, readonly [Behaviour, Expected]>> = {
  "401": [
    refuses(401, error("Incorrect API key provided", "invalid_api_key")),
    { message: /refused this agent's key/, why: /Incorrect API key/, remedy: /check api_keys/ },
  ],
  "402": [
    refuses(402, error("Insufficient credits", "402")),
    { message: /requires payment/, why: /Insufficient/, remedy: /check the account/ },
  ],
  "403": [
    refuses(403, error("Country not supported", "unsupported_country")),
    { message: /refused this agent's key/, why: /HTTP 403: Country not supported/ },
  ],
  "404, a wrong path": [
    refuses(404, "404 page not found"),
    { message: /no API at this address/, why: /HTTP 404/, remedy: /check api_base/ },
  ],
  "404, a wrong model": [
    refuses(404, error("The model `gpt-9` does not exist", "model_not_found")),
    { message: /does not know this model/, why: /`gpt-9` does not exist/, remedy: /check model/ },
  ],
  "429, a quota": [
    refuses(429, error("You exceeded your current quota", "insufficient_quota")),
    { message: /requires payment/, why: /current quota/, remedy: /check the account/ },
  ],
  "429, a rate": [
    refuses(429, error("Rate limit reached", "rate_limit_exceeded"), { "retry-after": "90" }),
    { message: /overloaded/, why: /Rate limit/, remedy: /ask less often/, retryAfter: 90 },
  ],
  "500, a page": [
    refuses(500, "<html><body>Internal Server Error</body></html>"),
    { message: /overloaded/, why: /HTTP 500: an HTML page/, remedy: /ask again later/ },
  ],
  "200, a page": [
    sends("<!doctype html><html>welcome</html>", { type: "text/html" }),
    { message: /invalid answer/, why: /the answer is an HTML page/, remedy: /check api_base/ },
  ],
  "200, other JSON": [
    json('{"object":"list","data":[{"id":"gpt-4o"}]}'),
    { message: /invalid answer/, why: /no answer of this API/, remedy: /check api_base/ },
  ],
};

describe("the cause of an answer that is an error", () => {
  for (const [name, [behaviour, expected]] of Object.entries(ANSWERED)) {
    it(`is named: ${name}`, async () => {
      await using server = await startModelServer();
      server.otherwise(behaviour);
      await assertFailure({ api_base: `${server.base}${QUERY}` }, expected);
    });
  }
});
