import type { McpAuthSettings, McpServerSettings, McpSettings } from "./contract.ts";
import { absolutePath } from "./files.ts";
import type { PathBases } from "./files.ts";
import type { Findings } from "./findings.ts";
import { MCP, MCP_SERVER } from "./keys/mcp.ts";
import { childOf } from "./tree.ts";
import type { Branch, Path, Tree } from "./tree.ts";
import { isSwitchedOff, namedEntries, NEVER_GIVEN } from "./values.ts";

const MAX_NAME = 64;

/**
 * The servers of the Model Context Protocol that are used; undefined if there is none. As in Go PicoClaw, one that
 * is not enabled is not read any further, and a relative `env_file` is in the workspace. Adds problems and warnings
 * to the findings.
 */
export function mcpSettings(
  tree: Branch,
  findings: Findings,
  bases: PathBases,
): McpSettings | undefined {
  const at = ["tools", "mcp"];
  const found = childOf(tree, ...at);
  if (found === undefined || isSwitchedOff(found, MCP.rows)) return undefined;
  const output = MCP.read(found, at, findings.problem);
  const path = [...at, "servers"];
  const servers = namedEntries(childOf(found, "servers"), path, findings.problem).flatMap(
    ([name, entry]) => serverSettings(entry, [...path, name], findings, bases) ?? [],
  );
  if (output === undefined || servers.length === 0) return undefined;
  const { discovery } = output;
  return {
    max_inline_text_chars: output.max_inline_text_chars || MCP_TEXT,
    discovery: {
      ...discovery,
      ttl: discovery.ttl || MANY,
      max_search_results: discovery.max_search_results || MANY,
    },
    servers,
  };
}

/** What Go PicoClaw uses in place of 0. */
const MCP_TEXT = 16_384;
const MANY = 5;

function serverSettings(
  entry: Tree,
  path: Path,
  findings: Findings,
  bases: PathBases,
): McpServerSettings | undefined {
  const name = String(path.at(-1));
  if (isSwitchedOff(entry, MCP_SERVER.rows)) {
    warnIfForgotten(entry, path, findings);
    return undefined;
  }
  const output = MCP_SERVER.read(entry, path, findings.problem);
  if (output === undefined) return undefined;
  if (!/^[\w-]+$/.test(name) || name.length > MAX_NAME) {
    const remedy = "rename it: profiles name its tools as server.tool";
    const text = `is not used: a name has 1 to ${MAX_NAME} characters out of A-Z a-z 0-9 _ -`;
    findings.warn(path, text, remedy);
    return undefined;
  }
  const { enabled: _, env_file, env, ...rest } = output;
  const type = output.type || (output.command === "" ? "http" : "stdio");
  checkTarget(output, type, path, findings);
  checkAuth(output, type, path, findings);
  for (const variable of Object.keys(env).filter((each) => NEVER_GIVEN.has(each))) {
    const text = "has no effect: this variable is never given to another program";
    findings.warn([...path, "env", variable], text);
  }
  const given = Object.entries(env).filter(([variable]) => !NEVER_GIVEN.has(variable));
  const file = env_file.trim() === "" ? {} : { env_file: absolutePath(env_file.trim(), bases) };
  return { ...rest, name, type, env: Object.fromEntries(given), ...file };
}

function checkTarget(
  output: Pick<McpServerSettings, "command" | "url"> & { readonly type: string },
  type: McpServerSettings["type"],
  path: Path,
  findings: Findings,
): void {
  const needed = type === "http" ? "url" : "command";
  const missing = output.type === "" ? "command or url" : needed;
  if (output[needed].trim() === "") findings.problem(path, `${missing} is missing`);
}

/** Adds what is wrong with how tokens are got. */
function checkAuth(
  { auth, headers }: Pick<McpServerSettings, "auth" | "headers">,
  type: McpServerSettings["type"],
  path: Path,
  findings: Findings,
): void {
  if (auth === undefined) return;
  const place = [...path, "auth"];
  if (type !== "http") findings.warn(place, "has no effect: the server has no url");
  if (Object.keys(headers).some((name) => name.toLowerCase() === "authorization")) {
    findings.problem(path, "has both auth and the header Authorization: one of them is enough");
  }
  for (const fault of authFaults(auth)) findings.problem(place, fault);
}

function authFaults(auth: McpAuthSettings): readonly string[] {
  const { grant, client_id, client_secret, private_key, issuer } = auth;
  const isMachine = grant === "client_credentials";
  const keys = [client_secret, private_key].filter((key) => key !== undefined).length;
  const faults: readonly (readonly [isThere: boolean, text: string])[] = [
    [keys === 2, "has both client_secret and private_key: one of them is enough"],
    [keys > 0 && client_id === "", "client_id is missing"],
    [
      keys > 0 && issuer === "",
      "issuer is missing: without it the server says who gets the secret",
    ],
    [!isMachine && private_key !== undefined, "private_key is for client_credentials only"],
    [isMachine && keys === 0, "client_secret or private_key is missing"],
  ];
  return faults.flatMap(([isThere, text]) => (isThere ? [text] : []));
}

function warnIfForgotten(entry: Tree, path: Path, findings: Findings): void {
  if (entry.kind !== "branch" || entry.entries.has("enabled")) return;
  findings.warn(path, "is not used: it is not enabled", 'add "enabled": true');
}
