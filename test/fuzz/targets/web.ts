import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { Socket } from "node:net";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { lineOf, readableOf } from "../../../src/agent/tools/web/html-text.ts";
import { tokensOf } from "../../../src/agent/tools/web/html-text.ts";
import { createWebFetch } from "../../../src/agent/tools/web/web-fetch.ts";
import { createWebSearch } from "../../../src/agent/tools/web/web-search.ts";
import { SILENT } from "../../../src/base/log.ts";
import { Secret } from "../../../src/base/secret.ts";
import { at } from "../../../src/base/unknown.ts";
import { callContext, toolSettings } from "../../support/agent-config.ts";
import { openWebServer } from "../../support/web-server.ts";
import { headAndBody, kindOf, sizeOf, textOf } from "../target.ts";
import type { Target, Trial } from "../target.ts";

const TAGS =
  '<p> </p> <a href="x"> <script> </script> <style> <!-- --> <!doctype <title> </title> <pre> <ul> <li> <table> <td> <br> <img alt="x"> <nav> <svg> hidden &amp; &#0; &#x110000; &nbsp &lt &#55296; ]]> <![CDATA[ </ <? = " \' style="display:none" aria-hidden="true" href=javascript:x'.split(
    " ",
  );

/** Control characters that no text of a tool holds. */
const CONTROLS = /[\p{Cc}--[\n\t]]/v;

/** Characters of all text tokens. */
async function runHtml(input: Uint8Array): Promise<string> {
  const html = textOf(input);
  let [texts, count] = [0, 0];
  for (const token of tokensOf(html)) {
    count += 1;
    if (token.kind === "text") texts += token.text.length;
    else assert.ok(token.name.length <= 40 && token.name === token.name.toLowerCase());
    assert.ok(count <= 2 * html.length + 2, "more tokens than characters");
  }
  assert.ok(texts <= html.length, "more text than there is");
  const base = new URL("http://site.test/");
  const outcomes: string[] = [];
  for (const format of ["plaintext", "markdown"] as const) {
    const { title, text } = await readableOf(html, { format, base, most: 1000 });
    assert.ok(title.length <= 1000 && !/[\n\r]/.test(title));
    // The last token may be longer than what is left; nothing comes after it.
    assert.ok(text.length <= 1000 + html.length + 2000, "the text has no end");
    outcomes.push(`${sizeOf(text.length)} ${title === ""}`);
  }
  assert.doesNotMatch(lineOf(html), /[\n\r\t]/);
  return `${sizeOf(count)} ${outcomes.join(" ")}`;
}

export const HTML: Target = {
  name: "html",
  about: "a page is read in one pass, and its text has a bound",
  material: { words: TAGS, most: 65_536 },
  linear: true,
  async open() {
    return { run: runHtml };
  },
};

/** `x-fuzz: gzip` has the body compressed, `x-fuzz: times=1000` has it repeated, so that a bomb is short. */
function answerOf(input: Uint8Array): Uint8Array {
  const [written, body] = headAndBody(input);
  if (written === "") return input;
  const times = Math.min(Number(/x-fuzz:.*times=(\d{1,6})/i.exec(written)?.[1] ?? 1), 100_000);
  const room = Math.max(1, Math.floor(20_000_000 / Math.max(1, body.length)));
  let bytes: Uint8Array = Buffer.concat(Array.from({ length: Math.min(times, room) }, () => body));
  if (/x-fuzz:.*gzip/i.test(written)) bytes = gzipSync(bytes, { level: 1 });
  if (/x-fuzz:.*br\b/i.test(written)) bytes = brotliCompressSync(bytes.subarray(0, 100_000));
  if (/x-fuzz:.*deflate/i.test(written)) bytes = deflateSync(bytes, { level: 1 });
  const head = `${written.replaceAll(/\r?\n/g, "\r\n")}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head, "latin1"), bytes]);
}

const MOST = 50_000 + 5_000;

async function openPage(): Promise<Trial> {
  let answer: Uint8Array = new Uint8Array();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.once("data", () => socket.end(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const web = { private_host_whitelist: ["127.0.0.1"], fetch_limit_bytes: 1_000_000 };
  const tool = createWebFetch({
    settings: { ...toolSettings().web, ...web },
    fetch: globalThis.fetch,
    log: SILENT,
    milliseconds: 1_000,
  });
  const url = `http://127.0.0.1:${Number(at(server.address(), "port"))}/start`;
  return {
    async run(input) {
      answer = answerOf(input);
      const text = await tool.run({ url }, callContext());
      assert.ok(text.length <= MOST, `${text.length} characters`);
      assert.doesNotMatch(text, CONTROLS, "a control character");
      const [first = ""] = text.split("\n", 1);
      const kind = first.startsWith("error") ? kindOf(first) : (/^\w+/.exec(first)?.[0] ?? "");
      return `${kind} ${/^Note: (.{0,30})/m.exec(text)?.[1] ?? ""} ${sizeOf(text.length)}`;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const PAGE: Target = {
  name: "page",
  about: "whatever a web server answers, web_fetch tells bounded text without controls, in time",
  material: {
    lines: true,
    most: 65_536,
    words: [
      ...TAGS,
      ..."HTTP/1.1 HTTP/1.0 200 301 404 304 204 \r\n content-type: content-length: transfer-encoding: chunked content-encoding: gzip br deflate identity x-fuzz: times=100000 location: /start //127.0.0.1:1/ http:// charset=utf-16le charset=x-user-defined text/html text/plain application/json 0 ffffffff -1".split(
        " ",
      ),
    ],
  },
  patience: 8_000,
  open: openPage,
};

const KEY = "search-key-0123456789";

async function openSearch(): Promise<Trial> {
  let body: Uint8Array = new Uint8Array();
  const server = await openWebServer((_, response) => {
    response.writeHead(200, { "content-type": "text/html" }).end(body);
  });
  const { base } = server;
  const on = { enabled: true, max_results: 10 };
  const api_keys = [new Secret(KEY)];
  const tools = (["searxng", "brave", "tavily", "duckduckgo"] as const).map((provider) =>
    createWebSearch({
      settings: {
        ...toolSettings().web,
        provider,
        searxng: { ...on, base_url: base },
        brave: { ...on, api_keys },
        tavily: { ...on, api_keys, base_url: base },
        duckduckgo: on,
      },
      fetch: globalThis.fetch,
      log: SILENT,
      bases: { brave: `${base}/brave`, duckduckgo: `${base}/html/` },
    }),
  );
  return {
    async run(input) {
      body = input;
      const outcomes: string[] = [];
      for (const tool of tools) {
        const text = (await tool?.run({ query: "x", count: 10 }, callContext())) ?? "";
        assert.ok(text.length < 25_000, `${text.length} characters`);
        assert.doesNotMatch(text, CONTROLS, "a control character");
        assert.ok(!text.includes(KEY) && !text.includes(base), "a key or an address is told");
        const hits = text.match(/^\d+\. /gm)?.length ?? 0;
        assert.ok(hits <= 10 || /\n\d+\. [^\n]*\n\d+\. /.test(text));
        outcomes.push(text.startsWith("error") ? kindOf(text) : String(hits));
      }
      return outcomes.join("|");
    },
    async close() {
      await server[Symbol.asyncDispose]();
    },
  };
}

export const SEARCH: Target = {
  name: "search",
  about: "whatever a search answers, web_search tells a bounded list without controls and keys",
  material: {
    json: true,
    most: 32_768,
    words: [
      ...TAGS,
      ...'"results" "web" "title" "url" "content" "description" class="result__a" class="result__snippet" uddg= //duckduckgo.com/l/?uddg=http%3A%2F%2Fa javascript:x'.split(
        " ",
      ),
    ],
  },
  open: openSearch,
};
