import { once } from "node:events";
import { createServer } from "node:http";
import { logIn } from "../agent/tools/mcp/auth/login.ts";
import { logOut } from "../agent/tools/mcp/auth/logout.ts";
import type { Logout } from "../agent/tools/mcp/auth/logout.ts";
import { onAbort, startDeadline } from "../base/async.ts";
import { codeOf, Failure, messageOf } from "../base/failure.ts";
import type { Config, McpServerSettings } from "../config/contract.ts";
import type { Context } from "./context.ts";
import { mcpDocumentsIn } from "./state/state-folder.ts";
import { askLine } from "./terminal/prompt.ts";

/** Milliseconds for a person to allow a server. */
const PATIENCE_MS = 10 * 60_000;
/** Milliseconds in which the browser gets the page. */
const FLUSH_MS = 500;

/**
 * Lets a person allow a server in a browser, and keeps the tokens. `show` prints the address to open. Throws a
 * `Failure`.
 */
export async function logInToServer(
  settings: McpServerSettings,
  config: Config,
  context: Context,
  show: (address: URL) => Promise<void>,
): Promise<void> {
  const { name, url, auth, headers } = settings;
  if (settings.type !== "http" || auth?.grant !== "authorization_code") {
    throw new Failure("failed", `the MCP server ${name} needs no login`, {
      remedy: `for a server that wants OAuth, set "auth": {} in tools.mcp.servers.${name}`,
    });
  }
  const deadline = startDeadline(PATIENCE_MS, { parent: context.signal });
  try {
    await logIn({
      settings: { name, url, auth, headers },
      documents: mcpDocumentsIn(config),
      fetch: fetchUntil(deadline.signal),
      learn: (secrets, of) => context.redactor.add(secrets, of),
      async authorize(address, redirectUrl) {
        const { host } = context;
        return await answerOf(address, redirectUrl, { host, show, signal: deadline.signal });
      },
    });
  } catch (thrown) {
    context.signal.throwIfAborted();
    if (thrown instanceof Failure) throw thrown;
    const why = deadline.isOver() ? "nobody allowed it within ten minutes" : messageOf(thrown);
    throw new Failure("failed", `not logged in to the MCP server ${name}`, { why });
  } finally {
    deadline.close();
  }
}

/** Forgets a login and has it revoked. Throws a `Failure`. */
export async function logOutOfServer(
  settings: McpServerSettings,
  config: Config,
  { signal, redactor }: Context,
): Promise<Logout> {
  const { name, url } = settings;
  try {
    return await logOut({
      settings: { name, url },
      documents: mcpDocumentsIn(config),
      fetch: fetchUntil(signal),
      learn: (secrets, of) => redactor.add(secrets, of),
    });
  } catch (thrown) {
    signal.throwIfAborted();
    const why = messageOf(thrown);
    throw new Failure("failed", `not logged out of the MCP server ${name}`, { why });
  }
}

function fetchUntil(end: AbortSignal) {
  return (address: string, { signal, ...init }: RequestInit = {}): Promise<Response> => {
    const signals = signal ? [end, signal] : [end];
    return globalThis.fetch(address, { ...init, signal: AbortSignal.any(signals) });
  };
}

interface Answering extends Pick<Context, "host" | "signal"> {
  readonly show: (address: URL) => Promise<void>;
}

/** The parameters of the address that the browser is sent back to: it comes here, or a person pastes it. */
async function answerOf(
  address: URL,
  redirectUrl: string,
  { host, show, signal }: Answering,
): Promise<URLSearchParams> {
  const isOver = new AbortController();
  const state = address.searchParams.get("state") ?? "";
  const waiting = { host, state, signal: AbortSignal.any([signal, isOver.signal]) };
  try {
    const { answer } = await listenFor(redirectUrl, waiting);
    await show(address);
    const typed = pasted(waiting).catch((thrown: unknown) => {
      if (host.stdin.isTTY) throw thrown;
      // Without a terminal the browser alone can answer.
      return answer;
    });
    return await Promise.race([answer, typed]);
  } finally {
    isOver.abort();
  }
}

interface Waiting extends Pick<Context, "host" | "signal"> {
  /** Of this login: other answers are not heard. */
  readonly state: string;
}

/** Listens for the browser until the signal is aborted. If the port is in use, the address can still be pasted. */
async function listenFor(redirectUrl: string, { host, state, signal }: Waiting) {
  const { promise: answer, resolve, reject } = Promise.withResolvers<URLSearchParams>();
  // It may be rejected before somebody waits for it.
  answer.catch(() => {});
  const { hostname, port, pathname } = new URL(redirectUrl);
  const server = createServer((request, response) => {
    const asked = URL.parse(request.url ?? "", redirectUrl);
    const isAnswer = asked?.pathname === pathname && asked.searchParams.get("state") === state;
    response.writeHead(isAnswer ? 200 : 404, { "content-type": "text/plain", connection: "close" });
    response.end(isAnswer ? "picoclaw has the answer. This page can be closed.\n" : "not found\n");
    if (isAnswer) resolve(asked.searchParams);
  });
  onAbort(signal, () => {
    // The answer on its way has `connection: close`.
    server.close();
    // Anyone at this machine can connect and say nothing.
    setTimeout(() => server.closeAllConnections(), FLUSH_MS).unref();
    reject(signal.reason);
  });
  server.listen(Number(port), hostname);
  try {
    await once(server, "listening");
  } catch (thrown) {
    const why = codeOf(thrown) === "EADDRINUSE" ? "another program uses it" : messageOf(thrown);
    await host.stderr.write(`note: port ${port} cannot be listened on: ${why}\n`);
  }
  return { answer };
}

async function pasted({ host, state, signal }: Waiting): Promise<URLSearchParams> {
  await host.stderr.write("If the browser then shows no page, paste its address here.\n");
  for (;;) {
    const line = await askLine(host, "address: ", signal);
    const parameters = URL.parse(line.trim())?.searchParams;
    if (parameters?.get("state") === state) return parameters;
    await host.stderr.write("That is not the address of this login.\n");
  }
}
