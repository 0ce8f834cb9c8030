import {
  address,
  bool,
  choice,
  integer,
  isHeader,
  oneOrMore,
  secret,
  secretTable,
  text,
} from "../values.ts";
import { entries, group, items, key, named, optional, optionalGroup } from "./key.ts";

const VARIABLE = { variable: true } as const;
const MILLION = 1_000_000;
const word = () => text("text without NUL", isWord);

const GRANTS = {
  "": "authorization_code",
  authorization_code: "authorization_code",
  client_credentials: "client_credentials",
} as const;

/** How tokens of OAuth are got for a server. */
const AUTH = optionalGroup({
  grant: key(
    choice("authorization_code or client_credentials", GRANTS),
    "authorization_code",
    "`authorization_code`: a person allows it once, with `picoclaw mcp login`; `client_credentials`: the gateway itself is the client.",
  ),
  client_id: key(word(), "", "The client as the authorization server knows it.", {
    shown: "registered at the first login",
  }),
  client_secret: optional(secret(), "The secret of that client.", { reference: true }),
  private_key: optional(
    secret(),
    "A private key in place of the secret (`private_key_jwt`): RSA or EC, in PEM.",
    { reference: true },
  ),
  issuer: key(
    address("an http or https URL", isUrl),
    "",
    "The authorization server that gets the secret, and no other.",
  ),
  scope: key(word(), "", "The scopes that are asked for.", {
    shown: "those that the server names",
  }),
  redirect_port: key(
    integer(1, 65_535),
    18_792,
    "The port of `http://127.0.0.1/callback`, to which the browser comes back.",
  ),
});

/** A server of the Model Context Protocol, with the keys of Go PicoClaw, and with `auth` and `pin`. */
export const MCP_SERVER = group({
  enabled: key(bool(), false, "Whether the server is used."),
  type: key(
    choice("stdio, http, sse or streamable-http", {
      "": "",
      stdio: "stdio",
      http: "http",
      sse: "http",
      "streamable-http": "http",
    }),
    "",
    "`stdio`: a program of this machine; `http`: Streamable HTTP, also named `sse` and `streamable-http`.",
    { shown: "`stdio` with a `command`, else `http`" },
  ),
  command: key(word(), "", "The program; no shell."),
  args: items(oneOrMore(word()), "Its arguments. Every user of the machine can read them."),
  env: entries(
    secretTable("a name without = and a text without NUL", isVariable),
    "Its variables, besides a few of the gateway's.",
    { reference: true },
  ),
  env_file: key(word(), "", "A file of such variables, `NAME=value` in each line."),
  url: key(address("an http or https URL", isUrl), "", "The address of the server."),
  headers: entries(
    secretTable("an HTTP header of one line", isHeader),
    "Headers of each request.",
    { reference: true },
  ),
  auth: AUTH,
  pin: key(
    bool(),
    false,
    "Whether tools that changed, or are new, are left out until `picoclaw mcp test` was run for the server.",
  ),
  deferred: optional(bool(), "Whether its tools are offered only after a search.", {
    shown: "`discovery.enabled`",
  }),
  timeout_seconds: key(integer(1, 3600), 60, "Seconds that a call of its tools may take."),
});

export const MCP = group({
  enabled: key(bool(), false, "Whether the servers are used.", VARIABLE),
  max_inline_text_chars: key(
    integer(0, MILLION),
    16_384,
    "Characters of a result that the model gets; 0 is 16384.",
    VARIABLE,
  ),
  discovery: group({
    enabled: key(bool(), false, "Whether tools of servers are offered only after a search."),
    ttl: key(integer(0, 1000), 5, "Answers for which a tool that was found stays offered; 0 is 5."),
    max_search_results: key(integer(0, 50), 5, "Tools that one search finds; 0 is 5."),
    use_bm25: key(bool(), true, "Whether there is a search by words."),
    use_regex: key(bool(), false, "Whether there is a search by patterns."),
  }),
  servers: named(MCP_SERVER),
});

function isWord(written: string): boolean {
  return !written.includes("\0");
}

function isVariable(name: string, value: string): boolean {
  return /^[^=\0]+$/.test(name) && isWord(value);
}

function isUrl(written: string): boolean {
  return written === "" || /^https?:$/.test(URL.parse(written)?.protocol ?? "");
}
