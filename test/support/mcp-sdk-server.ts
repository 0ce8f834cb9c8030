import {
  createMcpHandler,
  fromJsonSchema,
  inputRequired,
  McpServer,
} from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { openWebServer } from "./web-server.ts";
import type { Handler, WebServer } from "./web-server.ts";

/** A server made with the official library, of version 2026-07-28. */
function createServer(): McpServer {
  const server = new McpServer({ name: "official", version: "2" });
  const sent = { type: "string", "x-mcp-header": "Word" };
  const inputSchema = fromJsonSchema<{ word: string }>({
    type: "object",
    properties: { word: sent },
    required: ["word"],
  });
  const outputSchema = fromJsonSchema<{ loud: string }>({
    type: "object",
    properties: { loud: { type: "string" } },
  });
  const shout = { description: "Shouts.", inputSchema, outputSchema };
  server.registerTool("shout", shout, ({ word }) => {
    server.registerTool(`again_${word}`, { description: "New." }, () => ({ content: [] }));
    const loud = word.toUpperCase();
    return { content: [{ type: "text", text: loud }], structuredContent: { loud } };
  });
  server.registerTool("confirm", { description: "Asks first." }, () =>
    inputRequired({
      inputRequests: {
        sure: inputRequired.elicit({
          message: "Sure?",
          requestedSchema: { type: "object", properties: { sure: { type: "boolean" } } },
        }),
      },
    }),
  );
  return server;
}

/** It serves over HTTP; `heard` gets the headers of each request. */
export async function openSdkServer(heard: Headers[] = []): Promise<WebServer> {
  return await openWebServer(sdkHandler(heard));
}

export function sdkHandler(heard: Headers[] = []): Handler {
  const handler = createMcpHandler(() => createServer());
  return (request, response, body) => {
    const headers = new Headers(
      Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
    );
    heard.push(headers);
    const url = `http://${request.headers.host}${request.url}`;
    const method = request.method ?? "GET";
    const asked = new Request(url, { method, headers, ...(method === "POST" && { body }) });
    void handler.fetch(asked).then(async (answer) => {
      response.writeHead(answer.status, Object.fromEntries(answer.headers));
      for await (const chunk of answer.body ?? []) response.write(chunk);
      response.end();
    });
  };
}

// As a program it serves over its standard input and output.
if (import.meta.main) serveStdio(() => createServer());
