import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { openSdkServer } from "../../../support/mcp-sdk-server.ts";
import {
  EVERYTHING,
  FILESYSTEM,
  mcpServer,
  openTestMcp,
  scriptServer,
} from "../../../support/mcp.ts";
import { temporaryFolder } from "../../../support/temporary.ts";
import { until } from "../../../support/until.ts";
import { openWebServer } from "../../../support/web-server.ts";

const SDK_SERVER = join(import.meta.dirname, "../../../support/mcp-sdk-server.ts");

describe("the servers of the protocol's authors", () => {
  it("everything, as a program: texts, images, resources, errors", async () => {
    await using servers = await openTestMcp([scriptServer(EVERYTHING, [], { name: "every" })]);
    const names = servers.tools().map(({ name }) => name);
    for (const name of ["echo", "get-sum", "get-tiny-image"]) {
      assert.ok(names.includes(`mcp_every_${name}`), names.join(" "));
    }
    assert.ok(!names.some((name) => /sampling|elicitation|roots/.test(name)), names.join(" "));
    assert.equal(await servers.run("mcp_every_echo", { message: "grüße" }), "Echo: grüße");
    assert.match(await servers.run("mcp_every_get-sum", { a: 2, b: 40 }), /42/);
    assert.match(await servers.run("mcp_every_get-sum", { a: "x" }), /^error: /);
    const images: unknown[] = [];
    const shown = await servers.run(
      "mcp_every_get-tiny-image",
      {},
      { showImage: (image) => void images.push(image) },
    );
    assert.match(shown, /an image of 20 x 20/);
    assert.equal(images.length, 1);
    assert.match(await servers.run("mcp_every_get-resource-links"), /\[resource .*: demo:/);
  });

  it("everything, over HTTP", async () => {
    const env = { PATH: process.env["PATH"] ?? "", PORT: "0" };
    await using port = await freePort();
    const child = spawn("node", [EVERYTHING, "streamableHttp"], {
      env: { ...env, PORT: String(port.number) },
      stdio: ["ignore", "ignore", "pipe"],
    });
    try {
      const url = `http://127.0.0.1:${port.number}/mcp`;
      await until("it listens", () =>
        fetch(url).then(
          () => true,
          () => false,
        ),
      );
      await using servers = await openTestMcp([mcpServer({ name: "every", type: "http", url })]);
      assert.equal(await servers.run("mcp_every_echo", { message: "hi" }), "Echo: hi");
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("filesystem: reads and writes within its folder", async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, "note.txt"), "remember the milk");
    await using servers = await openTestMcp([
      scriptServer(FILESYSTEM, [folder.path], { name: "files" }),
    ]);
    const path = join(folder.path, "note.txt");
    assert.match(await servers.run("mcp_files_read_text_file", { path }), /remember the milk/);
    assert.match(
      await servers.run("mcp_files_read_text_file", { path: "/etc/passwd" }),
      /^error: .*denied/i,
    );
  });

  it("of version 2026-07-28, as a program", async () => {
    await using servers = await openTestMcp([scriptServer(SDK_SERVER, [], { name: "new" })]);
    assert.equal(await servers.run("mcp_new_shout", { word: "hi" }), "HI");
    assert.match(await servers.run("mcp_new_confirm"), /asks for input from a person/);
    assert.match(servers.log.text(), /connected to an MCP server.*"version":"2026-07-28"/);
    await until("it says that it has another tool", () =>
      servers.tools().some(({ name }) => name === "mcp_new_again_hi"),
    );
  });

  it("of version 2026-07-28, over HTTP, with the headers of the configuration", async () => {
    const heard: Headers[] = [];
    await using server = await openSdkServer(heard);
    const headers = { Authorization: "Bearer of-the-config" };
    await using servers = await openTestMcp([
      mcpServer({ name: "new", type: "http", url: `${server.base}/mcp`, headers }),
    ]);
    assert.equal(await servers.run("mcp_new_shout", { word: "hi" }), "HI");
    assert.match(await servers.run("mcp_new_confirm"), /asks for input from a person/);
    assert.match(servers.log.text(), /"version":"2026-07-28"/);
    assert.ok(heard.every((each) => each.get("authorization") === "Bearer of-the-config"));
    const called = heard.find((each) => each.get("mcp-method") === "tools/call");
    assert.equal(called?.get("mcp-param-word"), "hi");
  });
});

describe("a server over HTTP", () => {
  for (const [what, status, words] of [
    ["other credentials", 401, /other credentials/],
    ["nothing there", 404, /nothing at its url/],
    ["an error", 500, /status 500/],
  ] as const) {
    it(`with ${what} is named in the log`, async () => {
      await using server = await openWebServer((_, response) => {
        response.writeHead(status).end("CANARY");
      });
      await using servers = await openTestMcp([mcpServer({ type: "http", url: server.base })]);
      assert.match(servers.log.text(), words);
      assert.doesNotMatch(servers.log.text(), /CANARY/);
    });
  }

  it("that redirects elsewhere gets no credentials there", async () => {
    const elsewhere: unknown[] = [];
    await using other = await openWebServer((request, response) => {
      elsewhere.push(request.headers);
      response.writeHead(404).end();
    });
    await using server = await openWebServer((_, response) => {
      response.writeHead(307, { location: other.base }).end();
    });
    const headers = { "X-Key": "secret" };
    await using servers = await openTestMcp([
      mcpServer({ type: "http", url: server.base, headers }),
    ]);
    assert.deepEqual(elsewhere, []);
    assert.match(servers.log.text(), /not connected/);
  });

  it("that sends without end is left", async () => {
    await using server = await openWebServer((_, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const more = (): void => {
        while (!response.destroyed && response.write(" ".repeat(100_000)));
      };
      response.on("drain", more);
      more();
    });
    await using servers = await openTestMcp([mcpServer({ type: "http", url: server.base })]);
    assert.match(servers.log.text(), /sent too much/);
  });

  it("that forgot the session is asked again once", async () => {
    let sessions = 0;
    let called = 0;
    await using server = await openWebServer((request, response, body) => {
      if (request.method !== "POST") return void response.writeHead(405).end();
      const { id, method } = JSON.parse(body);
      if (id === undefined) return void response.writeHead(202).end();
      const session = `s${sessions}`;
      const json = (result: object, headers = {}): void => {
        response.writeHead(200, { "content-type": "application/json", ...headers });
        response.end(JSON.stringify({ jsonrpc: "2.0", id, result }));
      };
      if (method === "server/discover") return void response.writeHead(404).end();
      if (method === "initialize") {
        sessions += 1;
        return json(
          {
            protocolVersion: "2025-06-18",
            capabilities: { tools: {} },
            serverInfo: { name: "s", version: "1" },
          },
          { "mcp-session-id": `s${sessions}` },
        );
      }
      if (method === "tools/list")
        return json({ tools: [{ name: "look", inputSchema: { type: "object" } }] });
      called += 1;
      const isCurrent = request.headers["mcp-session-id"] === session;
      if (called === 1 || !isCurrent) return void response.writeHead(404).end();
      return json({ content: [{ type: "text", text: session }] });
    });
    await using servers = await openTestMcp([mcpServer({ type: "http", url: server.base })]);
    assert.equal(await servers.run("mcp_test_look"), "s2");
  });
});

/** A port that was free a moment ago. */
async function freePort(): Promise<{ number: number } & AsyncDisposable> {
  const server = await openWebServer((_, response) => response.end());
  const { port: number } = server;
  await server[Symbol.asyncDispose]();
  return { number, [Symbol.asyncDispose]: async () => {} };
}
