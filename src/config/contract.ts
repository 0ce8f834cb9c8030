import type { JsonPath, MessageCondition, PostgresAddress } from "../base/contract.ts";
import type { Failure } from "../base/failure.ts";
import type { Warning } from "./findings.ts";
import type { ConfigFlag } from "./flags.ts";
import type { AGENTS, MODEL_LIST } from "./keys/agents.ts";
import type { CHANNEL, CLIENT, SETTINGS } from "./keys/channel.ts";
import type { Group, ValuesOf } from "./keys/key.ts";
import type { KEYS } from "./keys/keys.ts";
import type { MCP, MCP_SERVER } from "./keys/mcp.ts";
import type { PROFILE, TOOLS } from "./keys/tools.ts";

type Values<Of extends Group> = ValuesOf<Of["rows"]>;

/**
 * The whole configuration, defaults filled in, secrets resolved. Inert data, named as in the file; the
 * table in `keys` says what each key means.
 */
export interface Config {
  readonly agents: { readonly defaults: AgentDefaults };
  readonly model_list: readonly ModelEntry[];
  /** The enabled channels of type mqtt, in the order of the file. */
  readonly channels: readonly MqttChannel[];
  readonly tools: ToolSettings;
  readonly session: {
    /** With neither `chat` nor `sender` in it, all clients share one conversation. */
    readonly dimensions: readonly ("space" | "chat" | "topic" | "sender")[];
  };
  /** Absent if no hook is to be asked. */
  readonly hooks?: HookSettings;
  readonly heartbeat: Values<typeof KEYS>["heartbeat"];
  readonly gateway: GatewaySettings;
}

/** `store` is where a PostgreSQL database is, or absent for files of this machine. */
export type GatewaySettings = Omit<Values<typeof KEYS>["gateway"], "store" | "store_password"> & {
  readonly store?: PostgresAddress;
};

/** `workspace` is an absolute path. An empty `model_name` is the first enabled entry, or the offline agent. */
export type AgentDefaults = Values<typeof AGENTS.rows.defaults> & {
  /** Absent if turns are not restricted. */
  readonly turn_profile?: TurnProfile;
};

/** The restrictions of every turn, for all clients; names are in lower case. */
export interface TurnProfile {
  /** `off`: the model sees nothing of the conversation, and the turn is not stored in it. */
  readonly history: "default" | "off";
  /** `off`: the model sees neither who it is nor what the workspace's files and its memory say. */
  readonly system_prompt: "default" | "off";
  /** The allowed skills; all if it is absent. */
  readonly skills?: ReadonlySet<string>;
  /** The allowed tools, among those that the client may use; all if it is absent. */
  readonly tools?: ReadonlySet<string>;
}

/** Programs of the owner that are asked about tool calls. */
export interface HookSettings {
  /** Milliseconds of a hook for `before_tool` and `after_tool`. */
  readonly interceptor_timeout_ms: number;
  /** Milliseconds of a hook for `approve_tool`. */
  readonly approval_timeout_ms: number;
  /** In the order in which they are asked. */
  readonly processes: readonly ProcessHookSettings[];
}

export type HookStage = "before_tool" | "after_tool" | "approve_tool";

export interface ProcessHookSettings {
  readonly name: string;
  readonly priority: number;
  /** The program and its arguments; no shell. */
  readonly command: readonly string[];
  readonly stages: ReadonlySet<HookStage>;
  readonly env: Readonly<Record<string, string>>;
  /** Absolute path; absent is the gateway's own folder. */
  readonly dir?: string;
}

/** Servers of the Model Context Protocol, in the order of the file. */
export type McpSettings = Omit<Values<typeof MCP>, "enabled"> & {
  readonly servers: readonly McpServerSettings[];
};

/** One server. `env_file` is an absolute path. */
export type McpServerSettings = Omit<Values<typeof MCP_SERVER>, "enabled" | "type" | "env_file"> & {
  readonly name: string;
  readonly type: "stdio" | "http";
  readonly env_file?: string;
};

/** How tokens of OAuth are got for a server. */
export type McpAuthSettings = NonNullable<McpServerSettings["auth"]>;

type ToolValues = Values<typeof TOOLS>;

/** Which tools there are, and their bounds. */
export interface ToolSettings extends Pick<
  ToolValues,
  "allow_read_paths" | "allow_write_paths" | "filter_sensitive_data" | "filter_min_length"
> {
  /** Names of tools that are switched off. */
  readonly off: ReadonlySet<string>;
  /** The permissions of MQTT clients, in the order of the file: the first whose pattern matches counts. */
  readonly profiles: readonly ToolProfile[];
  readonly cron: Omit<ToolValues["cron"], "enabled">;
  readonly exec: ExecSettings;
  readonly read_file: ReadFileSettings;
  readonly web: WebSettings;
  /** Absent without a server that is used. */
  readonly mcp?: McpSettings;
  /** Topics whose messages begin turns. */
  readonly watch: readonly WatchSettings[];
}

/** A topic whose messages begin turns. Every message does if neither `when` nor `unusual` is there. */
export interface WatchSettings {
  /** A filter. */
  readonly topic: string;
  /** As it is written. */
  readonly written: string;
  readonly when?: MessageCondition;
  /** No message for so many milliseconds; then there is neither `when` nor `unusual`. */
  readonly missingMs?: number;
  /** The value that has to be unusual. */
  readonly unusual?: JsonPath;
  readonly prompt: string;
  readonly client: string;
  readonly channel: string;
  readonly cooldownMs: number;
}

/** The permissions of clients; nothing else is allowed. `read` and `write` are absolute paths. */
export type ToolProfile = Values<typeof PROFILE> & {
  /** Client ids: `*` is any run of characters, `?` is one. */
  readonly pattern: string;
};

/**
 * `allow_remote` true: MQTT clients without a profile may use every tool. False: none may run commands,
 * whatever its profile says. Absent if the file says neither.
 */
export type ExecSettings = Omit<ToolValues["exec"], "enabled">;

export type ReadFileSettings = Omit<ToolValues["read_file"], "enabled">;

export type WebSettings = Omit<ToolValues["web"], "enabled">;

export type SearchName = Exclude<WebSettings["provider"], "auto">;

export type KeyedSearch = WebSettings["brave"];

export type ModelEntry = Omit<Values<typeof MODEL_LIST.each>, "enabled"> & {
  readonly enabled: boolean;
};

export type Prices = NonNullable<ModelEntry["prices"]>;

export interface MqttChannel extends Pick<
  Values<typeof CHANNEL>,
  "allow_from" | "deny_from" | "admin_from"
> {
  /** Its key in `channel_list`. */
  readonly name: string;
  readonly settings: MqttSettings;
}

/** `topic_prefix` has no trailing slash. An empty `client_id` is generated, fixed for the life of the process. */
export type MqttSettings = Omit<Values<typeof SETTINGS>, "tls"> & {
  readonly tls: TlsSettings;
  /** In the order of the file. */
  readonly clients: readonly ClientSettings[];
};

/** How clients are answered whose ids match the pattern; what is absent is the channel's. */
export type ClientSettings = Values<typeof CLIENT> & {
  /** `*` is any run of characters, `?` is one. */
  readonly pattern: string;
};

/** Paths are absolute; in the file they are relative to its folder. */
export interface TlsSettings {
  /** Without a value in the file: whether there is a `ca_file`. */
  readonly verify: boolean;
  readonly ca_file?: string;
  readonly cert_file?: string;
  readonly key_file?: string;
  readonly server_name?: string;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly warnings: readonly Warning[];
  /** Why no agent may start with it: it would drop restrictions that the file asks for. */
  readonly refusal?: Failure;
  /** Absolute paths; `file` may not exist (`found` is then false). */
  readonly home: string;
  readonly file: string;
  readonly found: boolean;
  /** Files that hold secrets, some of which may not exist: only their owner should read them. */
  readonly secretFiles: readonly string[];
}

/** Connection flags of the command line, as they were written; they apply to every mqtt channel. */
export type ConfigFlags = {
  readonly [Name in Exclude<ConfigFlag, "insecure">]?: string;
} & { readonly insecure?: boolean };
