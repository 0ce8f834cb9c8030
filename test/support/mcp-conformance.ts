import assert from "node:assert/strict";
import process from "node:process";
import { logIn } from "../../src/agent/tools/mcp/auth/login.ts";
import { openTokens } from "../../src/agent/tools/mcp/auth/tokens.ts";
import { connect } from "../../src/agent/tools/mcp/connection.ts";
import { ServerError } from "../../src/agent/tools/mcp/server-error.ts";
import { pause } from "../../src/base/async.ts";
import { Secret } from "../../src/base/secret.ts";
import { fromJson, textAt } from "../../src/base/unknown.ts";
import type { McpAuthSettings } from "../../src/config/contract.ts";
import { mapDocuments, mcpServer } from "./mcp.ts";
import { redirectedFrom } from "./web-server.ts";

/**
 * The client that the conformance suite of the Model Context Protocol runs, with the address of its server as the
 * last argument: connects, lists the tools, and calls each of them. Where a server wants OAuth it logs in as a person
 * would, whose browser follows the address at once.
 */
const scenario = process.env["MCP_CONFORMANCE_SCENARIO"] ?? "";
const context = fromJson(process.env["MCP_CONFORMANCE_CONTEXT"] ?? "{}");
const url = process.argv.at(-1) ?? "";
const signal = AbortSignal.timeout(25_000);
const { fetch } = globalThis;
/** A client whose identifier is an address that the suite knows. */
const DOCUMENT = "https://conformance-test.local/client-metadata.json";

/** The authorization server that a person finds in the papers of the server. */
async function issuer(): Promise<string> {
  const place = new URL(`/.well-known/oauth-protected-resource${new URL(url).pathname}`, url);
  const found: unknown = await (await fetch(place)).json();
  assert.ok(typeof found === "object" && found !== null && "authorization_servers" in found);
  assert.ok(Array.isArray(found.authorization_servers));
  return String(found.authorization_servers[0]);
}

async function authSettings(): Promise<McpAuthSettings> {
  const [secret, key] = [textAt(context, "client_secret"), textAt(context, "private_key_pem")];
  const isMachine = scenario.includes("client-credentials");
  const client = textAt(context, "client_id") || (scenario.endsWith("cimd") ? DOCUMENT : "");
  return {
    grant: isMachine ? "client_credentials" : "authorization_code",
    client_id: client,
    ...(secret !== "" && { client_secret: new Secret(secret) }),
    ...(key !== "" && { private_key: new Secret(key) }),
    issuer: secret !== "" || key !== "" ? await issuer() : "",
    scope: "",
    redirect_port: 18_792,
  };
}

const wantsToken = scenario.startsWith("auth/");
const settings = mcpServer({
  name: "conformance",
  type: "http",
  url,
  timeout_seconds: 10,
  ...(wantsToken && { auth: await authSettings() }),
});
const deps = { documents: mapDocuments(), fetch, learn: () => {} };

async function logInAtOnce(): Promise<void> {
  const { auth } = settings;
  assert.ok(auth);
  await logIn({
    ...deps,
    settings: { ...settings, auth },
    authorize: async (address) => new URL(await redirectedFrom(address)).searchParams,
  });
}

async function use(): Promise<void> {
  const tokens = await openTokens(settings, deps);
  const connection = await connect({ settings, env: {}, fetch, tokens, signal });
  try {
    const { tools } = await connection.list(signal);
    for (const tool of tools) {
      const { properties = {} } = tool.inputSchema;
      const pairs = Object.keys(properties).map((name, index) => [name, index + 2]);
      const result = await connection.call(tool, Object.fromEntries(pairs), signal);
      process.stdout.write(`${tool.name}: ${JSON.stringify(result)}\n`);
    }
    // The suite watches whether a stream that it ended is opened again.
    if (scenario === "sse-retry") await pause(1500, signal);
  } finally {
    await connection.close();
  }
}

const MOST_LOGINS = 3;

for (let logins = 0; ; logins += 1) {
  try {
    await use();
    break;
  } catch (thrown) {
    const isForPerson = thrown instanceof ServerError && thrown.message.includes("mcp login");
    if (!isForPerson || logins === MOST_LOGINS) throw thrown;
    process.stdout.write(`${thrown.message}\n`);
    await logInAtOnce();
  }
}
