import { DM_SCOPES, GO_KEYS, GO_LOG_LEVELS } from "../compat/go/keys.ts";
import {
  address,
  bool,
  choice,
  integer,
  list,
  text,
  texts,
  secret,
  secretTable,
} from "../values.ts";
import { AGENTS, MODEL_LIST } from "./agents.ts";
import { CHANNEL_LIST, TOTAL_LIMITS } from "./channel.ts";
import { entries, group, items, key, keysIn, optional } from "./key.ts";
import type { PlacedKey } from "./key.ts";
import { HOOKS, TOOLS } from "./tools.ts";

const DIMENSIONS = { space: "space", chat: "chat", topic: "topic", sender: "sender" } as const;

/** What opens the gateway to programs that speak a protocol over its port. */
const face = (doc: string) =>
  group({
    enabled: key(bool(), false, doc),
    channel: key(
      text(),
      "",
      "The channel whose limits, access lists and conversations they have; the first one if empty.",
    ),
  });

/**
 * The table of every key of config.json at version 3: what it may be, its default, its environment
 * variable, its flag, and a sentence for the documentation. How a file is read, the keys that are known, what
 * variables and flags set, and docs/settings.md are derived from it. To add a key, add its row here; a flag
 * also has its words for the help in flags.ts.
 */
export const KEYS = group(
  {
    agents: AGENTS,
    model_list: MODEL_LIST,
    channel_list: CHANNEL_LIST,
    gateway: group(
      {
        host: key(
          text("a host without blanks", isHost),
          "localhost",
          "The address of the [page](page.md), `GET /health` and `GET /ready`; also `--host`.",
          { variable: true },
        ),
        port: key(integer(0, 65_535), 18_790, "Their port; 0 is a free one; also `--port`.", {
          variable: true,
        }),
        log_level: key(
          choice("debug, info, warn or error", {
            debug: "debug",
            "": "info",
            info: "info",
            warn: "warn",
            error: "error",
            ...GO_LOG_LEVELS,
          }),
          "info",
          "`debug`, `info`, `warn` or `error`; also `--log-level`.",
          { variable: "PICOCLAW_LOG_LEVEL" },
        ),
        dedupe_window_secs: key(
          integer(1, 86_400),
          600,
          "Seconds in which a repeated request gets the answer that was given.",
        ),
        exclusive: key(
          bool(),
          false,
          "Whether a [second gateway](delivery.md#two-gateways-of-one-agent-id) of an agent id is refused.",
        ),
        name: optional(
          text("at most 128 characters without control characters", isName),
          "The name of this gateway among those that share its store.",
          { variable: true, shown: "the host name" },
        ),
        store: key(
          address('"sqlite" or a URL that begins with postgres://', isStore),
          "sqlite",
          "Where requests and conversations are stored: `sqlite`, or a [PostgreSQL](#postgresql) URL for several gateways.",
          { variable: true },
        ),
        store_password: optional(
          secret(),
          "The password of `store`; better in `.security.yml`, encrypted: [secrets](secrets.md).",
          { variable: true, reference: true },
        ),
        page: group({
          enabled: key(bool(), true, "Whether there is a [page](page.md) at that address."),
          token: optional(
            secret(),
            "Opens all of the page, from other machines too; else it is in `<workspace>/state/page-token`.",
            { variable: "PICOCLAW_GATEWAY_PAGE_TOKEN", reference: true },
          ),
        }),
        tokens: entries(
          secretTable("a client id, and a token of 16 to 512 characters without blanks", isToken),
          "The bearer tokens of [programs that ask over HTTP](ollama.md#who-may-ask), by their client ids.",
          { reference: true },
        ),
        mcp: face("Whether programs ask by the Model Context Protocol: [how](mcp-server.md)."),
        ollama: face("Whether programs ask as they would ask an Ollama server: [how](ollama.md)."),
        limits: TOTAL_LIMITS,
        ignore_unsupported: items(
          texts(),
          "Restrictions of the Go program [to ignore](#what-is-not-built-here).",
        ),
      },
      GO_KEYS.gateway,
    ),
    session: group(
      {
        dimensions: optional(
          list(choice("space, chat, topic or sender", DIMENSIONS)),
          "What tells conversations apart; without `chat` and `sender` all clients share one.",
          { shown: '`["chat"]`' },
        ),
        dm_scope: key(
          choice("per-channel-peer, per-channel, per-peer or global", DM_SCOPES),
          "",
          "The older form of `dimensions`: `per-channel-peer per-channel per-peer global`.",
        ),
      },
      GO_KEYS.session,
    ),
    tools: TOOLS,
    hooks: HOOKS,
    heartbeat: group(
      {
        enabled: key(
          bool(),
          true,
          "Whether the tasks in `HEARTBEAT.md` of a [Go home](agent.md#heartbeat) are done.",
          { variable: true },
        ),
        interval: key(
          integer(0, 525_600),
          30,
          "Minutes between two times; at least 5, and 0 is 30.",
        ),
      },
      "any",
    ),
  },
  GO_KEYS.root,
);

function isToken(client: string, token: string): boolean {
  return /^[A-Za-z0-9_.:@-]{1,128}$/.test(client) && /^[!-~]{16,512}$/.test(token);
}

function isName(name: string): boolean {
  return name.length <= 128 && !/\p{Cc}/u.test(name);
}

/** The rest of a URL is checked where it is used: it is rare. */
function isStore(store: string): boolean {
  return /^(?:sqlite$|postgres(?:ql)?:\/\/)/i.test(store);
}

function isHost(host: string): boolean {
  return !/[\s\p{Cc}]/u.test(host);
}

/** A key that a variable sets. */
export interface Variable extends PlacedKey {
  readonly name: string;
}

/** The variable of a key. For settings of a channel it holds the type, not the channel's name. */
export function variableOf({ path, key: { variable } }: PlacedKey): string | undefined {
  if (variable !== true) return variable;
  const inChannel = path[0] === "channel_list";
  const words = inChannel ? ["channels", "mqtt", ...path.slice(3)] : path;
  return ["picoclaw", ...words].join("_").toUpperCase();
}

export function keysWithVariables(): readonly Variable[] {
  return keysIn(KEYS).flatMap((placed) => {
    const name = variableOf(placed);
    return name === undefined ? [] : [{ name, ...placed }];
  });
}
