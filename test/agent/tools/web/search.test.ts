import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createLeakWatch } from "../../../../src/agent/tools/web/secret-leak.ts";
import { createWebSearch } from "../../../../src/agent/tools/web/web-search.ts";
import type { WebSearchOptions } from "../../../../src/agent/tools/web/web-search.ts";
import { Secret } from "../../../../src/base/secret.ts";
import type { WebSettings } from "../../../../src/config/contract.ts";
import { callContext, toolSettings } from "../../../support/agent-config.ts";
import { createMemoryLog } from "../../../support/memory-log.ts";
import { answerWith, openWebServer } from "../../../support/web-server.ts";
import type { WebServer } from "../../../support/web-server.ts";

const secrets = (...keys: string[]): Secret[] => keys.map((key) => new Secret(key));
const on = { enabled: true, max_results: 3 };
const { web } = toolSettings();

function searcher(settings: Partial<WebSettings>, server?: WebServer, more: object = {}) {
  const log = createMemoryLog();
  const base = server?.base ?? "http://127.0.0.1:9";
  const options: WebSearchOptions = {
    settings: { ...web, ...settings },
    fetch: globalThis.fetch,
    log,
    bases: { brave: `${base}/brave`, tavily: base, duckduckgo: `${base}/html/` },
    ...more,
  };
  const tool = createWebSearch(options);
  const search = async (input: object, signal = new AbortController().signal): Promise<string> =>
    (await tool?.run(input, callContext(signal))) ?? "no tool";
  return { tool, log, search };
}

const searxng = (base_url: string) => ({ searxng: { ...on, base_url } });
const results = (key: string) => [
  {
    title: "One &amp; <b>only</b>",
    url: "https://one.test/?a=1&copy=2",
    [key]: "about\n <i>one</i>",
  },
  { title: "", url: "https://two.test/", [key]: "" },
  { title: "bad", url: "javascript:x()", [key]: "" },
  { title: "four", url: "https://four.test/", [key]: "x" },
];
const SHOWN = `1. One & only
   https://one.test/?a=1&copy=2
   about one
2. (no title)
   https://two.test/`;

describe("a search", () => {
  it("does not carry a secret of the configuration away", async () => {
    await using server = await openWebServer(answerWith("application/json", "{}"));
    const holdsSecret = createLeakWatch(["sk-live-123456"]);
    const { search } = searcher(searxng(server.base), server, { holdsSecret });
    const query = `what is ${Buffer.from("sk-live-123456").toString("base64")}`;
    assert.match(await search({ query }), /^error: the query was not sent: it contains a secret/);
    assert.deepEqual(server.seen, []);
  });
});

describe("SearXNG", () => {
  it("is asked for JSON, and its results are a numbered list", async () => {
    const json = JSON.stringify({ results: results("content") });
    await using server = await openWebServer(answerWith("application/json", json));
    const { search } = searcher(searxng(`${server.base}/sx/`));
    assert.equal(await search({ query: " a b&c " }), `Results for "a b&c" (searxng):\n${SHOWN}`);
    await search({ query: "x", count: 1, range: "m" });
    assert.deepEqual(server.seen, [
      "GET /sx/search?q=a+b%26c&format=json",
      "GET /sx/search?q=x&format=json&time_range=month",
    ]);
  });

  it("that allows no JSON is an error that says so", async () => {
    await using server = await openWebServer((_, response) => response.writeHead(403).end());
    const { search } = searcher(searxng(server.base));
    assert.match(await search({ query: "x" }), /^error: searxng .*must allow the format json/);
  });
});

describe("Brave", () => {
  it("is asked with its header, and with the next key where one is used up", async () => {
    const seen: unknown[] = [];
    await using server = await openWebServer((request, response) => {
      const key = request.headers["x-subscription-token"];
      seen.push(key);
      if (key !== "k3") return response.writeHead(key === "k1" ? 429 : 401).end("k1 k2 k3");
      return response.end(JSON.stringify({ web: { results: results("description") } }));
    });
    const brave = { ...on, api_keys: secrets("k1", "k2", "k3") };
    const { search } = searcher({ brave }, server);
    assert.equal(await search({ query: "x", range: "w" }), `Results for "x" (brave):\n${SHOWN}`);
    await search({ query: "y" });
    assert.deepEqual(seen, ["k1", "k2", "k3", "k3"]);
    assert.deepEqual(server.seen.slice(2), [
      "GET /brave?q=x&count=3&freshness=pw",
      "GET /brave?q=y&count=3",
    ]);
  });

  it("that takes no key is an error without keys, and other errors try no other key", async () => {
    for (const [status, times] of [
      [402, 2],
      [500, 1],
      [302, 1],
    ] as const) {
      await using server = await openWebServer((_, response) =>
        response.writeHead(status, { location: "/x" }).end("secret-1 secret-2"),
      );
      const brave = { ...on, api_keys: secrets("secret-1", "secret-2") };
      const { search, log } = searcher({ brave }, server);
      const text = await search({ query: "x" });
      assert.equal(text, `error: brave gave no results: it answers ${status}`);
      assert.equal(server.seen.length, times);
      assert.doesNotMatch(JSON.stringify(log.lines), /secret/);
    }
  });
});

describe("Tavily", () => {
  it("is asked with a body and a bearer", async () => {
    const asked: unknown[] = [];
    await using server = await openWebServer((request, response, body) => {
      asked.push([request.headers.authorization, JSON.parse(body)]);
      response.end(JSON.stringify({ results: results("content") }));
    });
    const tavily = { ...on, api_keys: secrets("tv"), base_url: "" };
    const { search } = searcher({ tavily }, server);
    const text = await search({ query: "x", count: 10, range: "y" });
    assert.match(text, /^Results for "x" \(tavily\):\n1\. One & only\n.*\n3\. four\n/s);
    assert.deepEqual(asked, [["Bearer tv", { query: "x", max_results: 10, time_range: "year" }]]);
    assert.deepEqual(server.seen, ["POST /search"]);
  });
});

const link = (target: string) =>
  `//duckduckgo.com/l/?uddg=${encodeURIComponent(target)}&amp;rut=0123`;

const result = (target: string, title: string, snippet: string) => `
    <div class="result results_links web-result"><h2 class="result__title">
    <a rel="nofollow" class="result__a" href="${link(target)}">${title}</a></h2>
    <a class="result__url" href="x">shown</a>
    <a class="result__snippet" href="${link(target)}">${snippet}</a></div>`;

describe("DuckDuckGo", () => {
  const page = `<html><script>"result__a"</script>
    <div class="result result--ad"><a class="result__a" href="https://duckduckgo.com/y.js?ad=1">Buy</a>
    <a class="result__snippet">now</a></div>
    ${result("https://one.test/?a=1&b=2", "One &amp; <b>only</b>", "about <b>one</b>")}
    ${result("https://two.test/", "Two", "")} ${result("https://three.test/", "Three", "3")}`;

  it("is read from its page, without advertisements", async () => {
    await using server = await openWebServer(answerWith("text/html", page));
    const { search } = searcher({ duckduckgo: on }, server);
    assert.equal(
      await search({ query: "x", count: 2, range: "d" }),
      `Results for "x" (duckduckgo):\n1. One & only\n   https://one.test/?a=1&b=2\n   about one\n2. Two\n   https://two.test/`,
    );
    assert.deepEqual(server.seen, ["GET /html/?q=x&df=d"]);
  });

  it("that asks for a captcha is an error, one without results is none", async () => {
    for (const [status, body, expected] of [
      [202, "", /^error: .*robot/],
      [200, '<form id="challenge-form">', /^error: .*robot/],
      [200, "<p>No results.</p>", /^Nothing was found for "x" \(duckduckgo\)\.$/],
    ] as const) {
      await using server = await openWebServer((_, response) =>
        response.writeHead(status).end(body),
      );
      assert.match(await searcher({ duckduckgo: on }, server).search({ query: "x" }), expected);
    }
  });
});

describe("the search that is asked", () => {
  const brave = { ...on, api_keys: secrets("k") };
  const tavily = { ...on, api_keys: secrets("k"), base_url: "" };
  for (const [what, settings, name] of [
    ["none where none is enabled", {}, undefined],
    [
      "none where none has what it needs",
      { ...searxng(""), brave: { ...on, api_keys: [] } },
      undefined,
    ],
    ["the first in order", { duckduckgo: on, tavily, brave }, "brave"],
    [
      "the next where one lacks its key",
      { duckduckgo: on, brave: { ...on, api_keys: secrets(" ") } },
      "duckduckgo",
    ],
    ["the one that is named", { provider: "tavily", brave, tavily }, "tavily"],
    ["another where the named one is not enabled", { provider: "searxng", tavily }, "tavily"],
  ] as const) {
    it(`is ${what}`, async () => {
      const { tool, search, log } = searcher(settings);
      assert.equal(tool === undefined, name === undefined);
      if (name === undefined) return;
      assert.match(
        await search({ query: "x" }),
        new RegExp(`^error: ${name} gave no results: it cannot be reached`),
      );
      const isWarned = log.lines.some(({ message }) => message.startsWith("tools.web.provider"));
      assert.equal(isWarned, "provider" in settings && settings.provider !== name);
    });
  }
});

describe("where the settings leave the choice, a search that fails", () => {
  const brave = { ...on, api_keys: secrets("k") };

  it("gives way to the next, and the operator hears of it", async () => {
    await using server = await openWebServer((request, response) => {
      if (request.url?.startsWith("/html/") === true)
        response.end(result("https://a.test/", "A", ""));
      else response.writeHead(429).end();
    });
    const { search, log } = searcher({ provider: "auto", brave, duckduckgo: on }, server);
    assert.match(await search({ query: "x" }), /^Results for "x" \(duckduckgo\):\n1\. A\n/);
    assert.deepEqual(
      log.lines.map(({ message, fields }) => [message, fields["search"], fields["why"]]),
      [["a search failed", "brave", "gave no results: it answers 429"]],
    );
  });

  it("gives way in time where it says nothing", async () => {
    await using server = await openWebServer((request, response) => {
      if (request.url?.startsWith("/html/") === true)
        response.end(result("https://a.test/", "A", ""));
    });
    const settings = { provider: "auto", brave, duckduckgo: on } as const;
    const { search } = searcher(settings, server, { milliseconds: 1000 });
    assert.match(await search({ query: "x" }), /^Results for "x" \(duckduckgo\)/);
  });

  it("is named with all the others that failed", async () => {
    const { search } = searcher({ provider: "auto", brave, duckduckgo: on });
    assert.match(
      await search({ query: "x" }),
      /^error: brave gave no results: it cannot be reached.*; duckduckgo gave no results: it cannot/,
    );
  });

  it("does not give way where it is the one that is named", async () => {
    await using server = await openWebServer((_, response) => response.writeHead(500).end());
    const { search } = searcher({ provider: "brave", brave, duckduckgo: on }, server);
    assert.equal(await search({ query: "x" }), "error: brave gave no results: it answers 500");
    assert.equal(server.seen.length, 1);
  });
});

describe("a result with control characters", () => {
  it("comes without them", async () => {
    const hit = {
      title: "a\u001b[2Jb\u0085",
      url: "https://a.test/",
      content: "c\u0000\u009bd",
    };
    const json = JSON.stringify({ results: [hit] });
    await using server = await openWebServer(answerWith("application/json", json));
    const { search } = searcher(searxng(server.base));
    const shown = "1. a [2Jb\n   https://a.test/\n   c d";
    assert.equal(await search({ query: "x" }), `Results for "x" (searxng):\n${shown}`);
  });
});

describe("a search that does not end well", () => {
  it("is given up at the deadline, or when nobody waits", async () => {
    await using silent = await openWebServer(() => controller.abort(reason));
    const controller = new AbortController();
    const reason = new Error("stop");
    const { search } = searcher(searxng(silent.base), undefined, { milliseconds: 200 });
    await assert.rejects(search({ query: "x" }, controller.signal), reason);
    assert.match(await search({ query: "x" }), /^error: searxng gave no answer within 0\.2 s/);
  });

  it("is too large, or no JSON", async () => {
    await using endless = await openWebServer((_, response) => {
      const more = (): unknown => !response.destroyed && response.write("b".repeat(65_536), more);
      more();
    });
    assert.match(await searcher(searxng(endless.base)).search({ query: "x" }), /is too large$/);
    await using html = await openWebServer(answerWith("text/html", "<p>"));
    assert.match(await searcher(searxng(html.base)).search({ query: "x" }), /is not JSON$/);
    assert.match(
      await searcher(searxng(html.base)).search({ query: "" }),
      /^error: wrong arguments/,
    );
  });
});
