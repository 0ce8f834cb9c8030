import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, it } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { createByteBudget, readBody } from "../../../../src/agent/tools/web/body.ts";
import { createWebFetch } from "../../../../src/agent/tools/web/web-fetch.ts";
import type { WebFetchOptions } from "../../../../src/agent/tools/web/web-fetch.ts";
import { createHost } from "../../../../src/base/host.ts";
import { SILENT } from "../../../../src/base/log.ts";
import { at } from "../../../../src/base/unknown.ts";
import type { WebSettings } from "../../../../src/config/contract.ts";
import { callContext, toolSettings } from "../../../support/agent-config.ts";
import { answerWith, openWebServer } from "../../../support/web-server.ts";

const LOOPBACK = ["127.0.0.1"];

function fetcher(
  settings: Partial<WebSettings> = {},
  options: Partial<Pick<WebFetchOptions, "lookup" | "milliseconds">> = {},
) {
  const tool = createWebFetch({
    settings: { ...toolSettings().web, private_host_whitelist: LOOPBACK, ...settings },
    fetch: globalThis.fetch,
    log: SILENT,
    ...options,
  });
  return (url: string, more: object = {}, signal = new AbortController().signal) =>
    tool.run({ url, ...more }, callContext(signal));
}

async function* thirtyBytes() {
  yield new Uint8Array(15);
  yield new Uint8Array(15);
}

describe("a page that is fetched", () => {
  it("comes with its title, its address, its type and its text", async () => {
    const html =
      "<html><head><title>A &amp; B</title><style>x</style></head><body><nav>menu</nav><h1>Big</h1><p>One <a href=/two>two</a></body>";
    await using server = await openWebServer(answerWith("text/html; charset=utf-8", html));
    assert.equal(
      await fetcher()(`${server.base}/page?q=1`),
      `Title: A & B\nURL: ${server.base}/page?q=1\nContent type: text/html; charset=utf-8\n\nBig\n\nOne two`,
    );
    assert.match(
      await fetcher({ format: "markdown" })(server.base),
      /\n\n# Big\n\nOne \[two\]\(http:\/\/127\.0\.0\.1:\d+\/two\)$/,
    );
    assert.deepEqual(server.seen, ["GET /page?q=1", "GET /"]);
  });

  it("comes as it is if it is JSON or plain text", async () => {
    await using server = await openWebServer(
      answerWith("application/json", '{"a": "<b>"}\r\n\u0000\u001b[1m'.replace("\u0000", "")),
    );
    assert.match(await fetcher()(server.base), /\n\n\{"a": "<b>"\}\n\[1m$/);
  });

  it("comes without control characters in its headers", async () => {
    const headers = [
      "HTTP/1.1 200 OK",
      "content-type: text/plain;\u0089",
      "content-encoding: \u009b",
    ];
    for (const lines of [headers.slice(0, 2), headers]) {
      const odd = createServer((socket) => {
        socket.on("error", () => {});
        socket.once("data", () => socket.end(`${lines.join("\r\n")}\r\n\r\nx`, "latin1"));
      });
      await new Promise<void>((resolve) => odd.listen(0, "127.0.0.1", resolve));
      const text = await fetcher()(`http://127.0.0.1:${Number(at(odd.address(), "port"))}/`);
      odd.close();
      assert.match(text, lines === headers ? /its encoding "" is not supported/ : /\n\nx$/);
      assert.doesNotMatch(text, /[\u0080-\u009f]/);
    }
  });

  it("is named only where it is no text", async () => {
    await using server = await openWebServer(answerWith("image/png", new Uint8Array(70)));
    assert.match(
      await fetcher()(server.base),
      /Content type: image\/png\nIt is not text \(70 bytes\)/,
    );
    await using other = await openWebServer(answerWith("text/plain", new Uint8Array(70)));
    assert.match(await fetcher()(other.base), /It is not text/);
  });

  it("is cut to the characters that are wanted", async () => {
    await using server = await openWebServer(answerWith("text/plain", "é".repeat(60_000)));
    const text = await fetcher()(server.base, { max_chars: 10 });
    // The name that the argument had before.
    assert.equal(await fetcher()(server.base, { maxChars: 10 }), text);
    assert.match(text, /only the first 10 characters.\n\né{10}$/);
    assert.match(await fetcher()(server.base), /\n\né{50000}$/);
    assert.match(await fetcher()(server.base, { max_chars: 0 }), /^error: wrong arguments/);
  });

  it("is looked through no further than for a few times of that, be it all blanks", async () => {
    const body = `${"\r".repeat(200_000)}words`;
    await using server = await openWebServer(answerWith("text/plain", body));
    assert.match(await fetcher()(server.base), /only the first 50000 characters.\n\n\(no text\)$/);
  });

  it("is read in its own encoding", async () => {
    const bytes = Uint8Array.from([0xcf, 0xf0, 0xe8, 0xe2, 0xe5, 0xf2]);
    await using server = await openWebServer(answerWith("text/plain; charset=windows-1251", bytes));
    assert.match(await fetcher()(server.base), /Привет$/);
    const page = Buffer.concat([Buffer.from('<meta charset="windows-1251"><p>'), bytes]);
    await using other = await openWebServer(answerWith("text/html", page));
    assert.match(await fetcher()(other.base), /Привет$/);
    await using unsaid = await openWebServer(answerWith("text/plain", Uint8Array.of(0x61, 0xe9)));
    assert.match(await fetcher()(unsaid.base), /aé$/);
  });

  for (const [encoding, compress] of [
    ["gzip", gzipSync],
    ["br", brotliCompressSync],
  ] as const) {
    it(`is decompressed from ${encoding}`, async () => {
      const headers = { "content-encoding": encoding };
      await using server = await openWebServer(
        answerWith("text/plain", compress("hello"), headers),
      );
      assert.match(await fetcher()(server.base), /\n\nhello$/);
    });
  }

  it("that the server refuses is an error with what the server says", async () => {
    await using server = await openWebServer((_, response) => {
      response.writeHead(404, { "content-type": "text/plain" }).end("no such page");
    });
    assert.match(await fetcher()(server.base), /^error: the server answers 404\n.*no such page$/s);
  });

  it("is what its redirects lead to, five at most", async () => {
    await using server = await openWebServer((request, response) => {
      const left = Number(request.url?.slice(1));
      if (left === 0) return response.writeHead(200, { "content-type": "text/plain" }).end("there");
      return response.writeHead(302, { location: `./${left - 1}` }).end();
    });
    assert.match(await fetcher()(`${server.base}/5`), /^URL: .*\/0\n.*there$/s);
    assert.match(await fetcher()(`${server.base}/6`), /^error: .*redirects more than 5 times/);
  });
});

describe("a page that does not end well", () => {
  it("is cut where it is too large, before and after decompression", async () => {
    const bomb = gzipSync(new Uint8Array(200_000_000).fill(0x61));
    const headers = { "content-encoding": "gzip" };
    await using server = await openWebServer(answerWith("text/plain", bomb, headers));
    const fetchSmall = fetcher({ fetch_limit_bytes: 1_000_000 });
    assert.match(await fetchSmall(server.base, { max_chars: 100 }), /too large.*a{100}$/s);
    await using endless = await openWebServer((_, response) => {
      response.writeHead(200, { "content-type": "text/plain" });
      const more = (): unknown => !response.destroyed && response.write("b".repeat(65_536), more);
      more();
    });
    assert.match(await fetchSmall(endless.base, { maxChars: 100 }), /too large.*b{100}$/s);
  });

  for (const encoding of ["unknown, gzip", "unknown, br", "br, gzip", "gzip, gzip"]) {
    it(`says to be compressed as ${encoding}, and is not: that ends the page, not the process`, async () => {
      const headers = { "content-encoding": encoding };
      await using server = await openWebServer(answerWith("text/plain", "x".repeat(999), headers));
      assert.match(await fetcher()(server.base), /^error: 127\.0\.0\.1:\d+ was not fetched: /);
    });
  }

  it("is what had come by the deadline, or by the break", async () => {
    await using slow = await openWebServer((_, response) => {
      response.writeHead(200, { "content-type": "text/plain" });
      response.write("the beginning");
    });
    const fetchQuick = fetcher({}, { milliseconds: 300 });
    assert.match(await fetchQuick(slow.base), /too slowly.*the beginning$/s);
    await using broken = await openWebServer((_, response) => {
      response.writeHead(200, { "content-type": "text/plain", "content-length": "99" });
      response.write("some words", () => response.socket?.end());
    });
    assert.match(await fetcher()(broken.base), /broke off.*some words$/s);
  });

  it("is cut where all that are read meanwhile take too much, and whole when those are through", async () => {
    const budget = createByteBudget(100);
    const { signal } = new AbortController();
    const rest = Promise.withResolvers<void>();
    const read = (body: AsyncIterable<Uint8Array>) => {
      const answer = { status: 200, header: () => "", body, close: () => {} };
      return readBody(answer, { most: 1000, budget, signal });
    };
    const begun = Promise.withResolvers<void>();
    async function* slow() {
      yield new Uint8Array(80);
      begun.resolve();
      await rest.promise;
    }
    const first = read(slow());
    await begun.promise;
    const second = await read(thirtyBytes());
    assert.deepEqual([second.bytes.length, second.cut], [15, "crowded"]);
    rest.resolve();
    assert.equal((await first).bytes.length, 80);
    const third = await read(thirtyBytes());
    assert.deepEqual([third.bytes.length, third.cut], [30, undefined]);
  });

  it("has no headers in time, or none at all", async () => {
    await using silent = await openWebServer(() => {});
    const quick = fetcher({}, { milliseconds: 200 });
    assert.match(await quick(silent.base), /^error: .*no answer within 0\.2 s/);
    const odd = createServer((socket) => socket.end("SSH-2.0-OpenSSH_9.6\r\n"));
    await new Promise<void>((resolve) => odd.listen(0, "127.0.0.1", resolve));
    const port = Number(at(odd.address(), "port"));
    assert.match(
      await fetcher()(`http://127.0.0.1:${port}/`),
      /^error: 127\.0\.0\.1:\d+ was not fetched/,
    );
    odd.close();
    assert.match(await fetcher()(`http://127.0.0.1:${port}/`), /^error: .*refused/);
  });

  it("has headers that never end", async () => {
    const drip = createServer((socket) => {
      socket.on("error", () => {});
      socket.write("HTTP/1.1 200 OK\r\n");
      const timer = setInterval(() => socket.write("X-More: y\r\n"), 10);
      socket.on("close", () => clearInterval(timer));
    });
    await new Promise<void>((resolve) => drip.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${Number(at(drip.address(), "port"))}/`;
    assert.match(await fetcher({}, { milliseconds: 300 })(url), /^error: .*no answer within/);
    drip.close();
  });

  it("is given up when nobody waits any more", async () => {
    await using silent = await openWebServer(() => controller.abort(reason));
    const controller = new AbortController();
    const reason = new Error("stop");
    await assert.rejects(fetcher()(silent.base, {}, controller.signal), reason);
  });

  it("has no address, or one of another kind", async () => {
    for (const url of ["", "example", "http://", "http://[fe80::1%25eth0]/"]) {
      assert.match(await fetcher()(url), /^error: this is not a URL/);
    }
    for (const url of ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x"]) {
      assert.match(await fetcher()(url), /^error: .*only http and https/);
    }
  });
});

const lookup = (name: string) =>
  name === "inner.test"
    ? Promise.resolve([{ address: "10.0.0.1" }])
    : Promise.reject(new Error("no such name here"));

describe("a proxy", () => {
  const isNode = createHost().runtime.startsWith("node");
  it(
    "fetches what has a name that only it knows, and nothing private",
    { skip: isNode },
    async () => {
      const headers = { "content-encoding": "gzip" };
      await using proxy = await openWebServer(
        answerWith("text/plain", gzipSync("z".repeat(1_000_000)), headers),
      );
      const fetchIt = fetcher({ proxy: proxy.base, fetch_limit_bytes: 1000 }, { lookup });
      assert.match(await fetchIt("http://site.test/x"), /too large.*\n\nz{1000}$/s);
      for (const url of ["http://inner.test/", "http://10.0.0.2/", "http://[::1]/"]) {
        assert.match(await fetchIt(url), /^error: .*not public/);
      }
      assert.deepEqual(proxy.seen, ["GET http://site.test/x"]);
    },
  );

  it("that this runtime cannot use is said to be so, and nothing is fetched directly", async () => {
    await using server = await openWebServer(answerWith("text/plain", "direct"));
    for (const proxy of ["gopher://127.0.0.1:9", "nonsense"]) {
      const fetchIt = fetcher({ proxy }, { lookup });
      assert.match(await fetchIt(`${server.base}/`), /^error: tools\.web has a proxy that /);
    }
    assert.deepEqual(server.seen, []);
  });
});
