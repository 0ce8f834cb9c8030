import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { createServer, request as httpRequest } from "node:http";
import { connect } from "node:net";
import { describe, it } from "node:test";
import { gunzipSync } from "node:zlib";
import { withoutTexts } from "../../../src/gateway/http/local-access.ts";
import { createAnswers } from "../../../src/gateway/page/answers.ts";
import { createEvents } from "../../../src/gateway/page/events.ts";
import { until } from "../../support/until.ts";
import { startPage, TOKEN } from "./server.ts";
import { busyStatus, exampleSources, HARMFUL } from "./sources.ts";

interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Header fields as they are given: `fetch` sets some by itself. */
type Ask = (path: string, asked?: Asked) => Promise<Answer>;

async function withPage(use: (ask: Ask, port: number) => Promise<void>, harm = ""): Promise<void> {
  await using server = await startPage(exampleSources(harm));
  await use((path, asked) => askOnce(server.port, path, asked), server.port);
}

function askOnce(port: number, path: string, { method = "GET", headers, body }: Asked = {}) {
  return new Promise<Answer>((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path, method, headers, agent: false };
    const request = httpRequest(options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const bytes = Buffer.concat(chunks);
        const isZipped = response.headers["content-encoding"] === "gzip";
        const text = (isZipped ? gunzipSync(bytes) : bytes).toString("utf8");
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

const FORM = {
  "content-type": "application/x-www-form-urlencoded",
  "sec-fetch-site": "same-origin",
};
/** A login from this machine, or through a proxy on it. */
function attempt(ask: Ask, token: string, from?: string): Promise<Answer> {
  const proxied = from === undefined ? {} : { "x-forwarded-for": from };
  const headers = { ...FORM, ...proxied };
  return ask("/login", { method: "POST", headers, body: `token=${token}` });
}

const BEARER = { authorization: `Bearer ${TOKEN}` };

async function login(ask: Ask): Promise<string> {
  const body = `token=${TOKEN}&page=ask`;
  const { status, headers } = await ask("/login", { method: "POST", headers: FORM, body });
  assert.equal(status, 303);
  assert.equal(headers.location, "./ask");
  const [cookie = ""] = headers["set-cookie"] ?? [];
  assert.match(cookie, /^picoclaw_page=[\w-]{43}; HttpOnly; SameSite=Strict$/);
  assert.ok(!cookie.includes(TOKEN));
  return cookie.split(";", 1)[0] ?? "";
}

describe("the page of a gateway", () => {
  it("shows this machine how it is, and no text of anyone", async () => {
    await withPage(async (ask) => {
      const { status, text, headers } = await ask("/");
      assert.equal(status, 200);
      assert.match(text, /Serving/);
      assert.match(text, /kitchen-panel/);
      assert.ok(!text.includes("How warm is it in the greenhouse?"));
      assert.ok(!text.includes("Log out"));
      const policy = String(headers["content-security-policy"]);
      assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/);
      assert.ok(!policy.includes("unsafe"));
      const json = await ask("/status.json");
      assert.ok(!json.text.includes("in the greenhouse"));
      assert.match(
        (await ask("/", { headers: BEARER })).text,
        /How warm is it in the greenhouse\?/,
      );
    });
  });

  it("lists who asked last, also if others used more today", async () => {
    const busy = busyStatus();
    const [newest] = busy.recent;
    assert.ok(newest !== undefined);
    const recent = [{ ...newest, client: "late-riser" }, ...busy.recent];
    const status = () => Promise.resolve({ ...busy, recent });
    await using server = await startPage({ ...exampleSources(), status });
    const { text } = await askOnce(server.port, "/");
    const talking = text.slice(text.indexOf("Who is talking today"));
    assert.match(talking, /late-riser<\/td><td class="age">(?:now|\d+ s ago)<.*greenhouse-3/s);
  });

  it("opens conversations, checks, settings and the box to ask with the token alone", async () => {
    await withPage(async (ask) => {
      const names = ["ask", "conversations", "conversation?name=mqtt/a", "checks", "settings"];
      for (const name of names) {
        const locked = await ask(`/${name}`);
        assert.equal(locked.status, 401, name);
        assert.match(locked.text, /state\/page-token/);
        assert.ok(!locked.text.includes("greenhouse"), name);
      }
      const cookie = await login(ask);
      for (const name of names) {
        const opened = await ask(`/${name}`, { headers: { cookie } });
        assert.equal(opened.status, 200, name);
        assert.match(opened.text, /Log out/);
      }
      const forged = { cookie: "picoclaw_page=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" };
      assert.equal((await ask("/settings", { headers: forged })).status, 401);
    });
  });

  it("refuses the name of another site, and shows others nothing without the token", async () => {
    await withPage(async (ask) => {
      const rebound = await ask("/status.json", { headers: { host: "evil.example:18790" } });
      assert.equal(rebound.status, 403);
      assert.ok(!rebound.text.includes("kitchen-panel"));
      // With the token it is no attack: cookies belong to a name.
      const named = { host: "gateway.example", ...BEARER };
      assert.equal((await ask("/status.json", { headers: named })).status, 200);
      // Behind a proxy everyone comes from this machine.
      const proxied = await ask("/", { headers: { "x-forwarded-for": "203.0.113.7" } });
      assert.equal(proxied.status, 401);
      for (const fact of ["kitchen-panel", "page-token", "assistant"]) {
        assert.ok(!proxied.text.includes(fact), fact);
      }
      for (const path of ["/status.json", "/events"]) {
        const { status, text } = await ask(path, { headers: { forwarded: "for=203.0.113.7" } });
        assert.notEqual(status, 200);
        assert.ok(!text.includes("kitchen-panel"));
      }
    });
  });

  it("takes forms of its own pages alone", async () => {
    await withPage(async (ask) => {
      const body = `token=${TOKEN}`;
      const type = { "content-type": FORM["content-type"] };
      const post = (headers: Record<string, string>) =>
        ask("/login", { method: "POST", headers: { ...type, ...headers }, body });
      assert.equal((await post({})).status, 403);
      assert.equal((await post({ "sec-fetch-site": "cross-site" })).status, 403);
      assert.equal((await post({ "sec-fetch-site": "same-site" })).status, 403);
      assert.equal((await post({ origin: "null" })).status, 403);
      assert.equal((await post({ origin: "http://evil.example", host: "localhost" })).status, 403);
      const own = { origin: "http://localhost:18790", host: "localhost:18790" };
      assert.equal((await post(own)).status, 303);
      const behind = { origin: "https://home.example", "x-forwarded-host": "home.example" };
      assert.equal((await post(behind)).status, 303);
    });
  });

  it("shows a proxy that adds no header nothing, as far as it can tell", async () => {
    await withPage(async (ask, port) => {
      const host = `localhost:${port}`;
      const old = connect(port, "127.0.0.1");
      old.write(`GET / HTTP/1.0\r\nhost: ${host}\r\n\r\n`);
      let heard = "";
      for await (const chunk of old.setEncoding("utf8")) heard += String(chunk);
      assert.match(heard, /^HTTP\/1\.[01] 401 /, "nginx asks so");
      const page = { referer: "https://home.example/pico/" };
      const proxied = await ask("/", { headers: { host, ...page } });
      assert.equal(proxied.status, 401);
      const own = { referer: `http://${host}/`, "sec-fetch-site": "same-origin" };
      assert.equal((await ask("/status.json", { headers: { host, ...own } })).status, 200);
      const link = { ...page, "sec-fetch-site": "cross-site" };
      assert.equal((await ask("/", { headers: { host, ...link } })).status, 200);
    });
  });

  it("takes ten wrong tokens a minute from this machine and from each address", async () => {
    await withPage(async (ask) => {
      const callers = [undefined, "203.0.113.7", "forged, 203.0.113.8", "2001:db8:1:2::9"];
      for (const from of callers) {
        for (let left = 9; left > 0; left--) {
          assert.match((await attempt(ask, "wrong", from)).text, /This is not the token/);
        }
        assert.equal((await attempt(ask, TOKEN, from)).status, 303, "after nine");
        assert.match((await attempt(ask, "wrong", from)).text, /Too many wrong tokens/);
        assert.equal((await attempt(ask, TOKEN, from)).status, 401);
      }
      assert.equal((await attempt(ask, TOKEN, "other, 203.0.113.8")).status, 401);
      assert.equal((await attempt(ask, TOKEN, "2001:db8:1:2:3:4:5:6")).status, 401, "its network");
      assert.equal((await attempt(ask, TOKEN, "2001:db8:1:3::9")).status, 303);
      assert.equal((await attempt(ask, TOKEN, "203.0.113.9")).status, 303);
      assert.equal((await ask("/settings", { headers: BEARER })).status, 401);
    });
  });

  it("takes ten wrong tokens a minute of many addresses together, and those of this machine", async () => {
    await withPage(async (ask) => {
      let taken = 0;
      for (let number = 0; number < 100; number += 1) {
        const { text } = await attempt(ask, "wrong", `203.0.113.${number}`);
        if (text.includes("This is not the token")) taken += 1;
      }
      assert.equal(taken, 64 + 9, "the tenth is told that it was the last");
      assert.equal((await attempt(ask, TOKEN, "203.0.113.200")).status, 401);
      assert.equal((await attempt(ask, TOKEN)).status, 303);
      assert.equal((await attempt(ask, TOKEN, "203.0.113.1")).status, 303);
    });
  });

  it("escapes every text", async () => {
    await withPage(async (ask) => {
      const names = ["", "conversations", "conversation?name=mqtt/a", "checks", "settings"];
      for (const name of names) {
        const { text } = await ask(`/${name}`, { headers: BEARER });
        assert.ok(!/<img|<script>/.test(text), name);
        if (name !== "conversations") assert.match(text, /&lt;img src=x/, name);
      }
      const body = new URLSearchParams({ client: "page", channel: "mqtt", text: HARMFUL });
      const headers = { ...FORM, ...BEARER };
      const asked = await ask("/ask", { method: "POST", headers, body: body.toString() });
      assert.match(asked.text, /You asked: &lt;img/);
      assert.ok(!/<img|<script>/.test(asked.text));
    }, HARMFUL);
  });

  it("streams an answer line by line to its script, and as a page without one", async () => {
    await withPage(async (ask) => {
      const body = "client=page&channel=mqtt&text=hello";
      const headers = { ...FORM, ...BEARER };
      const lines = await ask("/ask", {
        method: "POST",
        headers: { ...headers, accept: "application/x-ndjson" },
        body,
      });
      const parts = lines.text.trim().split("\n");
      assert.deepEqual(parts.slice(0, 2), ['{"text":"You asked: "}', '{"text":"hello"}']);
      assert.match(parts[2] ?? "", /^\{"done":"Answered after \d/);
      const page = await ask("/ask", { method: "POST", headers, body });
      assert.match(page.text, /You asked: hello<\/p><p class="note">Answered after/);
      assert.match(page.text, /<\/html>\s*$/);
      const failing = body.replace("hello", "fail");
      const failed = await ask("/ask", { method: "POST", headers, body: failing });
      assert.match(failed.text, /nobody serves this agent id/);
    });
  });

  it("refuses a form that is too long, or no form", async () => {
    await withPage(async (ask) => {
      const headers = { ...FORM, ...BEARER };
      const body = `text=${"x".repeat(70_000)}`;
      assert.equal((await ask("/ask", { method: "POST", headers, body })).status, 413);
      const json = { ...headers, "content-type": "application/json" };
      assert.equal((await ask("/ask", { method: "POST", headers: json, body: "{}" })).status, 413);
      assert.equal((await ask("/", { method: "DELETE" })).status, 405);
    });
  });

  it("sends the status as events, to eight browsers at a time", async () => {
    await withPage(async (_ask, port) => {
      const abort = new AbortController();
      const open = () => fetch(`http://127.0.0.1:${port}/events`, { signal: abort.signal });
      const readers = await Promise.all(Array.from({ length: 8 }, open));
      assert.equal((await open()).status, 503);
      const [first] = readers;
      assert.equal(first?.headers.get("content-type"), "text/event-stream");
      const { value } = (await first?.body?.getReader().read()) ?? {};
      assert.match(
        new TextDecoder().decode(value),
        /^retry: 1000\nevent: status\ndata: \{"v":1,"type":"status"/,
      );
      abort.abort();
    });
  });

  it("makes one status a second for all that read events, and shows each what it may see", async () => {
    let made = 0;
    let clock = 0;
    const status = () => {
      made += 1;
      return Promise.resolve(busyStatus());
    };
    const events = createEvents(status, () => clock);
    const server = createServer(({ url }, response) => {
      events.open(response, (all) => (url === "/full" ? all : withoutTexts(all)));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" ? address?.port : 0;
    const firstEvent = async (path: string): Promise<string> => {
      const { body } = await fetch(`http://127.0.0.1:${port}${path}`);
      const reader = body?.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      while (!text.endsWith("\n\n")) text += (await reader?.read())?.value ?? "";
      return text;
    };
    const texts = await Promise.all(["/full", "/local", "/full", "/local"].map(firstEvent));
    const madeAtOnce = made;
    clock = 1000;
    await firstEvent("/full");
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    const seen = texts.map((text) => text.includes("in the greenhouse"));
    assert.deepEqual(seen, [true, false, true, false]);
    assert.deepEqual([madeAtOnce, made], [1, 2]);
  });

  it("makes one status a page", async () => {
    let made = 0;
    const status = () => {
      made += 1;
      return Promise.resolve(busyStatus());
    };
    await using server = await startPage({ ...exampleSources(), status });
    for (const path of ["/", "/ask", "/checks", "/status.json"]) {
      made = 0;
      await askOnce(server.port, path, { headers: BEARER });
      assert.equal(made, 1, path);
    }
  });

  it("does nothing for a browser that left before it was served", async () => {
    const status = busyStatus();
    const events = createEvents(() => Promise.resolve(status));
    let asked = 0;
    const answers = createAnswers({
      async *ask() {
        asked += 1;
        yield { text: "hi" };
      },
    });
    const left: Promise<void>[] = [];
    const server = createServer((request, response) => {
      const serve = async (): Promise<void> => {
        if (request.url === "/left") await once(response, "close");
        if (request.url === "/left") {
          await answers.answer(new URLSearchParams(), { request, response, status });
        }
        events.open(response, (all) => all);
      };
      left.push(serve());
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" ? address?.port : 0;
    for (let times = 1; times <= 8; times += 1) {
      const request = httpRequest({ port, path: "/left", agent: false });
      request.on("error", () => {});
      request.end();
      await until("the request", () => left.length === times);
      request.destroy();
    }
    await Promise.all(left);
    const response = await new Promise<IncomingMessage>((resolve) => {
      httpRequest({ port, path: "/stays", agent: false }, resolve).end();
    });
    assert.equal(response.statusCode, 200);
    assert.equal(asked, 0);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it("writes nothing after the end to a browser that reads slowly", async () => {
    const given = Promise.withResolvers<ReturnType<typeof busyStatus>>();
    const events = createEvents(() => given.promise);
    const ended = Promise.withResolvers<unknown>();
    const server = createServer((_request, response) => {
      response.on("error", ended.resolve);
      events.open(response, (all) => all);
      response.write(`: ${"x".repeat(30_000_000)}\n\n`);
      response.end();
      given.resolve(busyStatus());
      setImmediate(() => ended.resolve(undefined));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" ? address?.port : 0;
    const request = httpRequest({ port, agent: false }, (response) => response.pause());
    request.on("error", () => {});
    request.end();
    const error = await ended.promise;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    assert.equal(error, undefined);
  });

  it("is less than 60 KB, and its files are asked for once", async () => {
    await withPage(async (ask) => {
      const files = ["", "page.css", "page.js", "html.js", "views.js", "plots.js", "preact.js"];
      const headers = { "accept-encoding": "gzip" };
      let bytes = 0;
      for (const name of [...files, "htm.js", "uplot.js", "icon.svg"]) {
        const answer = await ask(`/${name}`, { headers });
        assert.equal(answer.status, 200, name);
        assert.ok(
          !/["'(]https?:\/\/(?!www\.w3\.org)/.test(answer.text.replaceAll(/\/\*![^]*?\*\//g, "")),
          name,
        );
        bytes += Number(answer.headers["content-length"]);
        if (name === "") continue;
        const again = { ...headers, "if-none-match": answer.headers.etag ?? "" };
        assert.equal((await ask(`/${name}`, { headers: again })).status, 304);
      }
      assert.ok(bytes < 60_000, `${bytes} bytes`);
      assert.ok(bytes > 20_000, `${bytes} bytes`);
    });
  });

  it("knows no other addresses", async () => {
    await withPage(async (ask) => {
      for (const path of [
        "/nothing",
        "/__proto__",
        "/toString",
        "/browser/page.js",
        "/../page.ts",
      ]) {
        assert.equal((await ask(path, { headers: BEARER })).status, 404, path);
      }
      const unknown = await ask("/conversation?name=unknown", { headers: BEARER });
      assert.equal(unknown.status, 404);
    });
  });
});
