import type { Learn } from "../../agent/tools/mcp/contract.ts";
import { probeServer } from "../../agent/tools/mcp/probe.ts";
import type { Probed } from "../../agent/tools/mcp/probe.ts";
import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { suggestWord } from "../../base/spelling.ts";
import type { Config, McpServerSettings } from "../../config/contract.ts";
import { loadOrThrow } from "../connection.ts";
import { createCommandLog, type Context } from "../context.ts";
import { wrapFor } from "../report.ts";
import { mcpDocumentsIn } from "../state/state-folder.ts";

/** `picoclaw mcp list|test [server]`, `picoclaw mcp login|logout <server>`; 1 if a server that is tested is not connected. */
export async function run(context: Context): Promise<number> {
  const [what, name] = context.words;
  const log = await createCommandLog(context);
  const { config } = await loadOrThrow(context, log, {});
  const servers = chosen(config.tools.mcp?.servers ?? [], name);
  if (servers.length === 0) {
    const { stderr } = context.host;
    await stderr.write("note: tools.mcp is off, or has no server that is enabled\n");
    return 0;
  }
  if (what === "list") {
    for (const server of servers) await print(listed(server), context);
    return 0;
  }
  const testing = { name, config, log, context };
  if (what === "test") return await testAll(servers, testing);
  const [server] = servers;
  if (server === undefined || name === undefined) {
    throw new Failure("usage", `mcp ${what} needs the name of a server`, {
      remedy: "picoclaw mcp list",
    });
  }
  if (what === "logout") return await loggedOut(server, config, context);
  await loggedIn(server, config, context);
  return await testAll([server], testing);
}

interface Testing {
  readonly name: string | undefined;
  readonly config: Config;
  readonly log: Log;
  readonly context: Context;
}

/** Returns 1 if one is not connected. With a name also the tools of that one are printed. */
async function testAll(servers: readonly McpServerSettings[], testing: Testing): Promise<number> {
  const { name, context } = testing;
  const tests = servers.map(async (server) => ({ server, probed: await tested(server, testing) }));
  let areWell = true;
  for (const test of tests) {
    const { server, probed } = await test;
    areWell &&= probed.ok;
    await print(testedLine(server, probed), context);
    if (name !== undefined && !context.flags.has("json")) await printTools(probed, context);
  }
  return areWell ? 0 : 1;
}

async function loggedIn(
  server: McpServerSettings,
  config: Config,
  context: Context,
): Promise<void> {
  const { name } = server;
  const { logInToServer } = await import("../mcp-login.ts");
  await logInToServer(server, config, context, async (address) => {
    await context.host.stderr.write("Open this address in a browser, and allow it there:\n");
    const json = { type: "mcp_login", name, address: address.href };
    await print({ cells: [address.href], json, isCopied: true }, context);
  });
}

/** Returns 1 if the tokens are still good at the authorization server, which refused. */
async function loggedOut(
  server: McpServerSettings,
  config: Config,
  context: Context,
): Promise<number> {
  const { name } = server;
  const { logOutOfServer } = await import("../mcp-login.ts");
  const done = await logOutOfServer(server, config, context);
  const { kind } = done;
  const isRevoked = kind === "revoked";
  const words = {
    none: "there is no login",
    revoked: "logged out",
    "not offered": "logged out here",
    failed: "logged out here",
  };
  const json = { type: "mcp_logout", name, forgotten: kind !== "none", revoked: isRevoked };
  await print({ cells: [name, words[kind]], json }, context);
  if (kind === "none" || kind === "revoked") return 0;
  const { issuer } = done;
  const why = kind === "failed" ? done.why : "it offers no revocation";
  const note = `note: the tokens for ${name} end by themselves, or take them back at ${issuer}: ${why}\n`;
  await context.host.stderr.write(context.redactor.redact(escapeControl(note)));
  return kind === "failed" ? 1 : 0;
}

async function printTools(probed: Probed, context: Context): Promise<void> {
  if (!probed.ok) return;
  for (const { permission, description } of probed.tools) {
    await print({ cells: [`  ${permission}`, description], json: {} }, context);
  }
}

function chosen(
  servers: readonly McpServerSettings[],
  name: string | undefined,
): readonly McpServerSettings[] {
  if (name === undefined) return servers;
  const found = servers.filter((server) => server.name === name);
  if (found.length > 0) return found;
  const guess = suggestWord(
    name,
    servers.map((server) => server.name),
  );
  throw new Failure("failed", `there is no MCP server ${name} that is enabled`, {
    remedy: guess === undefined ? "picoclaw mcp list" : `picoclaw mcp test ${guess}`,
  });
}

async function tested(
  settings: McpServerSettings,
  { name: chosenName, config, log, context: { signal, redactor } }: Testing,
): Promise<Probed> {
  const { workspace } = config.agents.defaults;
  const documents = mcpDocumentsIn(config);
  const accepts = chosenName !== undefined;
  const learn: Learn = (secrets, name) => redactor.add(secrets, name);
  return await probeServer({ settings, workspace, documents, accepts, log, learn, signal });
}

/** A line for people, and the same for scripts. */
interface Line {
  readonly cells: readonly string[];
  readonly json: object;
  /** People copy it from the terminal, so that it stays in one piece. */
  readonly isCopied?: true;
}

async function print(
  { cells, json, isCopied }: Line,
  { host, flags, redactor }: Context,
): Promise<void> {
  const { stdout } = host;
  if (flags.has("json")) return stdout.write(redactor.redact(jsonLine({ v: 1, ...json })));
  const wrap = isCopied ? undefined : await wrapFor(stdout);
  const text = cells.map((cell) => escapeControl(cell)).join(wrap ? "  " : "\t");
  const line = redactor.redact(text);
  await stdout.write(`${wrap?.(line, INDENT) ?? line}\n`);
}

/** Spaces before what is left of a line on a terminal. */
const INDENT = 4;

function listed(server: McpServerSettings): Line {
  const { name, type, timeout_seconds, deferred } = server;
  const target = targetOf(server);
  return {
    cells: [name, type, target],
    json: { type: "mcp_server", name, transport: type, target, deferred, timeout_seconds },
  };
}

function targetOf({ type, command, args, url }: McpServerSettings): string {
  return type === "http" ? url : [command, ...args].join(" ");
}

function testedLine({ name, type: transport }: McpServerSettings, probed: Probed): Line {
  const { ms, ok } = probed;
  const about = { type: "mcp_test", name, transport, ok, ms };
  if (!probed.ok) {
    const { why: message } = probed;
    return { cells: [name, "fail", message], json: { ...about, message } };
  }
  const { is, protocol, leftOut: left_out, changed } = probed;
  const tools = probed.tools.map(({ permission, name: model_name, description }) => {
    return { name: permission, model_name, description };
  });
  const news = changed.length === 0 ? [] : [`changed or new: ${changed.join(" ")}`];
  const left = left_out === 0 ? [] : [`${left_out} cannot be used`];
  return {
    cells: [name, "ok", `${tools.length} tools`, is, protocol, `${ms} ms`, ...left, ...news],
    json: { ...about, is, protocol, tools, left_out, changed },
  };
}
