import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { startPage, TOKEN } from "../test/gateway/page/server.ts";
import { exampleSources } from "../test/gateway/page/sources.ts";

/** `bun scripts/screenshots.ts`: takes the pictures of the page in docs/images, with Debian's Chromium. */
const folder = join(import.meta.dirname, "../docs/images");
mkdirSync(folder, { recursive: true });
await using server = await startPage({
  ...exampleSources(),
  async *ask() {
    await Promise.resolve();
    yield { text: "It is 21.5 °C in the greenhouse, and the window is open." };
  },
});
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
const sizes = [
  { width: 1280, height: 900 },
  { width: 390, height: 844 },
];
for (const colorScheme of ["light", "dark"] as const) {
  for (const viewport of sizes) {
    const context = await browser.newContext({ viewport, colorScheme, timezoneId: "UTC" });
    const page = await context.newPage();
    await page.goto(`http://localhost:${server.port}/ask`);
    await page.fill("#token", TOKEN);
    await page.click("main button");
    await page.fill("#text", "How warm is it in the greenhouse?");
    await page.click("main button");
    await page.waitForSelector("#answer[aria-busy=false]");
    const end = `${viewport.width}-${colorScheme}.png`;
    await page.screenshot({ path: join(folder, `page-ask-${end}`) });
    await page.click("text=Overview");
    await page.waitForSelector("#times-plot canvas");
    await page.screenshot({ path: join(folder, `page-${end}`) });
    await context.close();
  }
}
await browser.close();
