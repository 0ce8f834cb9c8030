import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, request as httpRequest } from "node:http";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { startPage, TOKEN } from "../gateway/page/server.ts";
import type { PageServer } from "../gateway/page/server.ts";
import { busyStatus, exampleSources, HARMFUL } from "../gateway/page/sources.ts";
import { ASSISTANT, askAll, connectDevice } from "../support/bare-device.ts";
import { freePort } from "../support/mosquitto.ts";
import { onceInCi, quickConfig, startGateway, temporaryHome } from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const CHROMIUM = "/usr/bin/chromium";
const PHONE = { viewport: { width: 390, height: 844 }, colorScheme: "dark" } as const;
const DESK = { viewport: { width: 1280, height: 900 }, colorScheme: "light" } as const;

interface Visit extends AsyncDisposable {
  readonly page: Page;
  /** What the browser had to complain about: scripts that failed, and violations of the policy. */
  readonly complaints: string[];
}

const needsChromium = {
  skip: onceInCi.skip || (!existsSync(CHROMIUM) && !process.env["CI"]),
};

describe("the page in a browser", needsChromium, () => {
  let browser: Browser;
  let server: PageServer;
  let base: string;
  let axe: string;

  before(async () => {
    const { chromium } = await import("playwright-core");
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
    server = await startPage(exampleSources(HARMFUL));
    base = `http://localhost:${server.port}/`;
    axe = await readFile(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");
  });
  after(async () => {
    await browser.close();
    await server[Symbol.asyncDispose]();
  });

  async function visit(options: BrowserContextOptions = {}): Promise<Visit> {
    const context = await browser.newContext({ ...DESK, ...options });
    context.setDefaultTimeout(30_000);
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !message.text().includes("401")) {
        complaints.push(message.text());
      }
    });
    return { page, complaints, [Symbol.asyncDispose]: () => context.close() };
  }

  async function login(page: Page, at = base): Promise<void> {
    await page.goto(`${at}ask`);
    await page.fill("#token", TOKEN);
    await page.click("main button");
    await page.waitForSelector("#text");
    await page.waitForLoadState();
  }

  for (const [name, look] of Object.entries({ PHONE, DESK })) {
    it(`has nothing that axe finds, fits, and runs no foreign text: ${name}`, async () => {
      await using visited = await visit(look);
      const { page, complaints } = visited;
      const addresses = ["login", "", "ask", "conversation?name=mqtt/a", "checks", "settings"];
      for (const address of addresses) {
        if (address === "ask") await login(page);
        await page.goto(base + (address === "login" ? "checks" : address));
        if (address === "") await page.waitForSelector(".plot canvas");
        const found = await page.evaluate<string[]>(
          `(() => { ${axe}; return axe.run(); })().then(({ violations }) =>
            violations.map(({ id, nodes }) => id + " " + nodes.map(({ html }) => html).join(" ")))`,
        );
        assert.deepEqual(found, [], address);
        const width = await page.evaluate<number>("document.documentElement.scrollWidth");
        assert.equal(width, look.viewport.width, address);
        assert.match(await page.title(), /picoclaw assistant/);
      }
      assert.deepEqual(complaints, []);
    });
  }

  it("shows a setting on a phone in the whole width", async () => {
    await using visited = await visit(PHONE);
    const { page } = visited;
    await login(page);
    await page.goto(`${base}settings`);
    const widths = await page.evaluate<number[]>(
      "[...document.querySelectorAll('td')].map(({ clientWidth }) => clientWidth)",
    );
    assert.ok(widths.length > 3);
    assert.ok(
      widths.every((width) => width > 300),
      widths.join(),
    );
  });

  it("shows the times of one minute alone, as after a start", async () => {
    const { minutes, ...others } = busyStatus();
    const status = () => Promise.resolve({ ...others, minutes: minutes.slice(-1) });
    await using young = await startPage({ ...exampleSources(), status });
    await using visited = await visit();
    const { page } = visited;
    await page.goto(`http://localhost:${young.port}/`);
    await page.waitForSelector("#times-plot canvas");
    const drawn = `(() => {
      const canvas = document.querySelector("#times-plot canvas");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const colour = [0x0f, 0x6f, 0x78, 0xff];
      return data.some((_, at) => at % 4 === 0 && colour.every((one, i) => data[at + i] === one));
    })()`;
    await page.waitForFunction(drawn);
  });

  it("is used with the keyboard alone", async () => {
    await using visited = await visit();
    const { page } = visited;
    await page.goto(`${base}ask`);
    // The field of the token has the focus.
    await page.keyboard.type(TOKEN);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#text");
    // Its scripts hear the keys from then on.
    await page.waitForLoadState("load");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate("document.activeElement.textContent"), "Skip to the content");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.type("how warm is it?");
    await page.keyboard.press("Control+Enter");
    await page.waitForSelector("#answer[aria-busy=false]");
    assert.equal(await page.textContent("#answer .text"), "You asked: how warm is it?");
  });

  it("works without scripts, but for plots and news", async () => {
    await using visited = await visit({ javaScriptEnabled: false });
    const { page } = visited;
    await page.goto(base);
    assert.match((await page.textContent("main")) ?? "", /plots and live figures need scripts/);
    assert.equal((await page.locator("table tr").count()) > 20, true);
    await login(page);
    await page.fill("#text", "is it dark?");
    await page.click("main button");
    await page.waitForSelector("#answer .note");
    assert.equal(await page.textContent("#answer .text"), "You asked: is it dark?");
    await page.click("text=Conversations");
    await page.click("text=greenhouse-3");
    assert.match((await page.textContent("main")) ?? "", /It is 21\.5 °C/);
    await page.click("text=Log out");
    await page.click("text=Settings");
    assert.equal(await page.textContent("h1"), "Log in");
  });

  it("shows what is new without a reload", async () => {
    let version = "1.0.0";
    const status = () => Promise.resolve({ ...busyStatus(), version });
    await using changing = await startPage({ ...exampleSources(), status });
    await using visited = await visit();
    const { page, complaints } = visited;
    await page.goto(`http://localhost:${changing.port}/`);
    await page.waitForSelector('#connection:text-is("Live")');
    version = "2.0.0";
    await page.waitForSelector("text=Version 2.0.0");
    assert.deepEqual(complaints, []);
  });

  it("is live again after a gateway that was away for long", async () => {
    const first = await startPage(exampleSources());
    await using visited = await visit();
    const { page } = visited;
    await page.clock.install();
    await page.goto(`http://localhost:${first.port}/`);
    await page.waitForSelector('#connection:text-is("Live")');
    await first[Symbol.asyncDispose]();
    await page.waitForSelector('#connection:text-is("Connection lost, trying again")');
    await page.clock.fastForward(6000);
    await using _second = await startPage(exampleSources(), first.port);
    await page.waitForSelector('#connection:text-is("Live")');
  });

  it("works behind a proxy, under a path of its own, which holds events back", async () => {
    await using proxy = await startProxy(server.port);
    await using visited = await visit();
    const { page } = visited;
    await login(page, proxy.url);
    await page.click("text=Overview");
    await page.waitForSelector('#connection:text-is("Every 5 s")');
    await page.waitForSelector(".plot canvas");
    assert.ok(page.url().startsWith(proxy.url));
  });

  it("shows a running gateway, and asks it over its broker", async () => {
    await using home = await temporaryHome(quickConfig("embedded://127.0.0.1:0"));
    await using gateway = await startGateway({ home: home.path });
    await gateway.said(/http:\/\/127\.0\.0\.1:\d+/);
    const at = `${/http:\/\/127\.0\.0\.1:\d+/.exec(gateway.stderr())?.[0]}/`;
    await using visited = await visit();
    const { page, complaints } = visited;
    await page.goto(`${at}ask`);
    assert.match((await page.textContent("main")) ?? "", /page-token/);
    const token = await readFile(join(home.path, "workspace/state/page-token"), "utf8");
    await page.fill("#token", token.trim());
    await page.click("main button");
    await page.fill("#text", "uptime");
    // Before its script has run the form leads to a page of its own.
    await page.waitForLoadState();
    await page.click("main button");
    await page.waitForSelector("#answer[aria-busy=false]");
    assert.match((await page.textContent("#answer .note")) ?? "", /^Answered after/);
    assert.match((await page.textContent("#answer .text")) ?? "", /up/i);
    for (const [name, shown] of [
      ["Overview", /page.*ok/s],
      ["Conversations", /page/],
      ["Checks", /Good|Warning/],
      ["Settings", /channel_list\.mqtt\.settings\.broker.*config\.json/s],
    ] as const) {
      await page.click(`text=${name}`);
      await page.waitForSelector(`nav a[aria-current]:text("${name}")`);
      assert.match((await page.textContent("main")) ?? "", shown, name);
    }
    assert.deepEqual(complaints, []);
  });
});

it(
  "the page paints within 300 ms behind 10,000 requests, from 60 KB",
  { ...needsChromium, timeout: 300_000 },
  async () => {
    const [brokerPort, port] = [await freePort(), await freePort()];
    const settings = { limits: { requests_per_minute: 0 } };
    const broker = `embedded://127.0.0.1:${brokerPort}`;
    await using home = await temporaryHome(quickConfig(broker, settings));
    const env = { PICOCLAW_GATEWAY_PORT: String(port) };
    await using gateway = await startGateway({ home: home.path, env });
    await gateway.said('"msg":"gateway started"');
    using device = await connectDevice(ASSISTANT, { port: brokerPort, qos: 0, version: 4 });
    await askAll(device, 10_000, 60);
    const { chromium } = await import("playwright-core");
    await using browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ["--no-sandbox"],
    });
    const paints: { readonly ms: number; readonly bytes: number }[] = [];
    // The first visits warm the browser up, and other programs run on this machine.
    await until("it paints in time", async () => {
      paints.push(await firstPaint(browser, `http://localhost:${port}/`));
      return paints.some(({ ms }) => ms > 0 && ms <= 300);
    });
    for (const { bytes } of paints) assert.ok(bytes > 20_000 && bytes <= 60_000, `${bytes} bytes`);
  },
);

/** When a browser that has nothing in its cache shows something, and what it loads in all. */
async function firstPaint(browser: Browser, url: string) {
  const context = await browser.newContext(DESK);
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  let bytes = 0;
  session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await session.send("Network.enable");
  await page.goto(url);
  assert.match((await page.textContent("#figures")) ?? "", /Last hour.*10,000/s);
  await page.waitForSelector(".plot canvas");
  const ms = await page.evaluate<number>(
    "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0",
  );
  await context.close();
  return { ms, bytes };
}

/** Serves the page under /pico/, as a proxy of a home server does; it sends events only when they have ended. */
async function startProxy(port: number): Promise<AsyncDisposable & { readonly url: string }> {
  const proxy = createServer((request, response) => {
    const path = (request.url ?? "").replace(/^\/pico/, "");
    const headers = { ...request.headers, "x-forwarded-for": "127.0.0.1" };
    const options = { host: "127.0.0.1", port, path, method: request.method, headers };
    const passed = httpRequest(options, (answer) => {
      if (path === "/events") return;
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    passed.on("error", () => response.destroy());
    request.on("close", () => path === "/events" && passed.destroy());
    request.pipe(passed);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const address = proxy.address();
  const own = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://localhost:${own}/pico/`,
    async [Symbol.asyncDispose]() {
      proxy.closeAllConnections();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}
