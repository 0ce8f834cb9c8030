import process from "node:process";
import { connect } from "../../src/agent/tools/mcp/connection.ts";
import { pause } from "../../src/base/async.ts";

/**
 * The client that the conformance suite of the Model Context Protocol runs, with the address of its server as the
 * last argument: connects, lists the tools, and calls each of them.
 */
const signal = AbortSignal.timeout(20_000);
const connection = await connect({
  settings: {
    name: "conformance",
    type: "http",
    command: "",
    args: [],
    env: {},
    url: process.argv.at(-1) ?? "",
    headers: {},
    timeout_seconds: 10,
  },
  env: {},
  fetch: globalThis.fetch,
  signal,
});
const { tools } = await connection.list(signal);
for (const tool of tools) {
  const { properties = {} } = tool.inputSchema;
  const input = Object.fromEntries(Object.keys(properties).map((name, index) => [name, index + 2]));
  const result = await connection.call(tool, input, signal);
  process.stdout.write(`${tool.name}: ${JSON.stringify(result)}\n`);
}
// The suite watches whether a stream that it ended is opened again.
if (process.env["MCP_CONFORMANCE_SCENARIO"] === "sse-retry") await pause(1500, signal);
await connection.close();
