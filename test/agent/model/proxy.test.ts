import assert from "node:assert/strict";
import { createServer, request as send } from "node:http";
import { after, before, describe, it } from "node:test";
import { inspect } from "node:util";
import { Failure } from "../../../src/base/failure.ts";
import { createHost } from "../../../src/base/host.ts";
import { collect, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { answers, startModelServer } from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import { openModel } from "../../support/model.ts";

const runtime = createHost().runtime.split(" ")[0];

interface Proxied {
  readonly url: string;
  readonly authorization: string | undefined;
}

/** A proxy for plain HTTP, which is asked for whole URLs. */
async function startProxy() {
  const seen: Proxied[] = [];
  const server = createServer((incoming, response) => {
    const { url = "", method, headers } = incoming;
    seen.push({ url, authorization: headers["proxy-authorization"] });
    const onward = send(url, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.writeHead(502).end());
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { host: `127.0.0.1:${port}`, seen, close };
}

describe("a model behind a proxy", () => {
  let server: ModelServer;
  let proxy: Awaited<ReturnType<typeof startProxy>>;
  before(async () => {
    [server, proxy] = await Promise.all([startModelServer(), startProxy()]);
    server.otherwise(answers("through the proxy"));
  });
  after(() => Promise.all([server.close(), proxy.close()]));

  const modelThrough = (written: string) =>
    openModel({
      entry: { api_base: server.base, proxy: written },
      defaults: { max_llm_retries: 0 },
    });
  const refusedProxy = (written: string): Failure => {
    try {
      modelThrough(written);
    } catch (thrown) {
      assert.ok(thrown instanceof Failure && thrown.code === "config");
      return thrown;
    }
    return assert.fail(`${written} was taken`);
  };

  if (runtime === "node") {
    it("is a failure of the configuration, and never a direct connection", () => {
      assert.match(refusedProxy(`http://${proxy.host}`).why ?? "", /node cannot/);
    });
  } else {
    it("is asked through it, with its user and password", async () => {
      const { text } = await collect(modelThrough(`http://me:p%40ss@${proxy.host}`)(questionOf()));
      assert.equal(text, "through the proxy");
      assert.equal(proxy.seen.at(-1)?.url, `${server.base}/chat/completions`);
      const basic = Buffer.from("me:p@ss").toString("base64");
      assert.equal(proxy.seen.at(-1)?.authorization, `Basic ${basic}`);
    });

    it("that is not there is unreachable, and never asked directly", async () => {
      const asked = server.requests.length;
      const gone = await startProxy();
      await gone.close();
      const answer = collect(modelThrough(`http://me:secret@${gone.host}`)(questionOf()));
      const failure = await modelFailureOf(answer);
      assert.match(failure.message, /could not be reached/);
      assert.doesNotMatch(inspect(failure), /secret/);
      assert.equal(server.requests.length, asked);
    });
  }

  if (runtime !== "deno") {
    it("over SOCKS is a failure of the configuration, without its password", () => {
      const failure = refusedProxy("socks5://me:secret@127.0.0.1:1080");
      assert.match(failure.message, /proxy that cannot be used here/);
      assert.doesNotMatch(inspect(failure), /secret/);
    });
  }

  it("that is no URL, or speaks what no proxy does, is a failure of the configuration", () => {
    for (const written of ["here", "ftp://127.0.0.1", "mailto:me"]) {
      assert.match(refusedProxy(written).message, /has a proxy/);
    }
  });

  it("is asked directly where none is named", async () => {
    const count = proxy.seen.length;
    await collect(modelThrough(" ")(questionOf()));
    assert.equal(proxy.seen.length, count);
  });
});
