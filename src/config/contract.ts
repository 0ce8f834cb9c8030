import type { Limits } from "../base/contract.ts";
import type { Failure } from "../base/failure.ts";
import type { Secret } from "../base/secret.ts";
import type { ConfigFlag } from "./flags.ts";

/** The whole configuration, defaults filled in, secrets resolved. Inert data, named as in the file. */
export interface Config {
  readonly agents: { readonly defaults: AgentDefaults };
  readonly model_list: readonly ModelEntry[];
  /** The enabled channels of type mqtt, in the order of the file. */
  readonly channels: readonly MqttChannel[];
  readonly tools: ToolSettings;
  readonly session: SessionSettings;
  /** Absent where no hook is asked. */
  readonly hooks?: HookSettings;
  readonly gateway: {
    readonly host: string;
    /** 0 takes a free port. */
    readonly port: number;
    readonly log_level: "debug" | "info" | "warn" | "error";
    /** Seconds in which the same request, come again, gets the answer that was given. */
    readonly dedupe_window_secs: number;
    /** For all channels together. */
    readonly limits: Limits;
    /** Paths of keys that restrict the agent in the Go program and are not built here; the start ignores them. */
    readonly ignore_unsupported: readonly string[];
  };
}

export interface AgentDefaults {
  /** Absolute path. */
  readonly workspace: string;
  readonly provider: string;
  /** Picks from `model_list`; empty is the first enabled entry, or the offline agent where there is none. */
  readonly model_name: string;
  readonly max_tokens: number;
  readonly temperature?: number;
  readonly max_tool_iterations: number;
  /** Turns side by side; 0 is 16. */
  readonly max_parallel_turns: number;
  /** Seconds a whole turn may take, from its start to its last word; each call in it has a limit of its own. */
  readonly turn_timeout_secs: number;
  /** Tries after the first for 408, 429, 5xx and network faults. */
  readonly max_llm_retries: number;
  /** Seconds; the n-th retry waits n times as long. */
  readonly llm_retry_backoff_secs: number;
  /** Tokens that the model can read; 0 is four times `max_tokens`. */
  readonly context_window: number;
  /** Messages of a conversation beyond which it is summarized; 0 is never. */
  readonly summarize_message_threshold: number;
  /** Percent of the context window beyond which a conversation is summarized; 0 is never. */
  readonly summarize_token_percent: number;
  /** Names of `model_list` to ask, in order, when the model fails. */
  readonly model_fallbacks: readonly string[];
  readonly routing: RoutingSettings;
  /** Whether the file tools stay within the workspace. */
  readonly restrict_to_workspace: boolean;
  /** Whether they may read outside of it all the same. */
  readonly allow_read_outside_workspace: boolean;
  /** Absent where turns are not restricted. */
  readonly turn_profile?: TurnProfile;
}

/** What every turn is restricted to, whoever asks; names are in lower case. */
export interface TurnProfile {
  /** `off`: the model is shown nothing of the conversation, and nothing of the turn is kept in it. */
  readonly history: "default" | "off";
  /** `off`: the model is told neither who it is nor what the workspace's files and its memory say. */
  readonly system_prompt: "default" | "off";
  /** Skills there are; absent is every one. */
  readonly skills?: ReadonlySet<string>;
  /** Tools there are, of those that who asks may use; absent is every one. */
  readonly tools?: ReadonlySet<string>;
}

/** `hooks`: programs of the owner that are asked about calls of tools. */
export interface HookSettings {
  /** Milliseconds a hook may take for `before_tool` and `after_tool`, and for `approve_tool`. */
  readonly interceptor_timeout_ms: number;
  readonly approval_timeout_ms: number;
  /** In the order in which they are asked. */
  readonly processes: readonly ProcessHookSettings[];
}

export type HookStage = "before_tool" | "after_tool" | "approve_tool";

export interface ProcessHookSettings {
  readonly name: string;
  readonly priority: number;
  /** The program and its words; no shell. */
  readonly command: readonly string[];
  readonly stages: ReadonlySet<HookStage>;
  readonly env: Readonly<Record<string, string>>;
  /** Absolute path; the program's own folder where it is left out. */
  readonly dir?: string;
}

/** Light questions go to a smaller model. */
export interface RoutingSettings {
  readonly enabled: boolean;
  /** A name of `model_list`; empty is none. */
  readonly light_model: string;
  /** Questions that score below it (0 to 1) are light. */
  readonly threshold: number;
}

/** How conversations are told apart. */
export interface SessionSettings {
  /** With neither `chat` nor `sender` in it all clients share one conversation. */
  readonly dimensions: readonly ("space" | "chat" | "topic" | "sender")[];
}

/** `tools`: which tools there are, and their bounds. */
export interface ToolSettings {
  /** Names of tools that are switched off. */
  readonly off: ReadonlySet<string>;
  /** Regular expressions: paths outside of the workspace that may be read, and written. */
  readonly allow_read_paths: readonly string[];
  readonly allow_write_paths: readonly string[];
  readonly filter_sensitive_data: boolean;
  /** Characters of a tool's result from which on secrets are looked for in it. */
  readonly filter_min_length: number;
  /** What clients of MQTT may do, in the order of the file: the first whose pattern means the client counts. */
  readonly profiles: readonly ToolProfile[];
  readonly exec: ExecSettings;
  readonly read_file: ReadFileSettings;
  readonly web: WebSettings;
}

/** What clients may do; what is left out is not allowed. */
export interface ToolProfile {
  /** Client ids: `*` is any run of characters, `?` is one. */
  readonly pattern: string;
  /** Names of tools; `*` is every tool. */
  readonly tools: readonly string[];
  /** Absolute paths of files and folders, with all that is below them. */
  readonly read: readonly string[];
  readonly write: readonly string[];
  /** MQTT topic filters. */
  readonly topics: { readonly read: readonly string[]; readonly publish: readonly string[] };
}

export interface ExecSettings {
  readonly enable_deny_patterns: boolean;
  /**
   * True: clients of MQTT without a profile may use every tool. False: none of them may run commands,
   * whatever its profile says. Absent where nobody said either.
   */
  readonly allow_remote?: boolean;
  /** Regular expressions, matched against the lower-cased command. */
  readonly custom_deny_patterns: readonly string[];
  readonly custom_allow_patterns: readonly string[];
  /** Seconds a command may take; 0 is no limit but the turn's. */
  readonly timeout_seconds: number;
  /** Whether commands run in a sandbox of bubblewrap's: where it works, always, or never. */
  readonly sandbox: "auto" | "bwrap" | "none";
  /** Whether commands in the sandbox reach the network. */
  readonly allow_network: boolean;
}

export interface ReadFileSettings {
  readonly mode: "bytes" | "lines";
  /** Bytes of one read. */
  readonly max_read_file_size: number;
}

export interface WebSettings {
  /** Which search is asked; `auto` is the first that is enabled and has what it needs. */
  readonly provider: "auto" | SearchName;
  readonly searxng: {
    readonly enabled: boolean;
    readonly base_url: string;
    readonly max_results: number;
  };
  readonly brave: KeyedSearch;
  readonly tavily: KeyedSearch & { readonly base_url: string };
  readonly duckduckgo: { readonly enabled: boolean; readonly max_results: number };
  /** URL of a proxy for searches and fetches; empty is none. */
  readonly proxy: string;
  /** Bytes of a page that are read. */
  readonly fetch_limit_bytes: number;
  readonly format: "plaintext" | "markdown";
  /** Hosts, addresses and networks of one's own that may be fetched all the same. */
  readonly private_host_whitelist: readonly string[];
}

export type SearchName = "searxng" | "brave" | "tavily" | "duckduckgo";

export interface KeyedSearch {
  readonly enabled: boolean;
  readonly api_keys: readonly Secret[];
  readonly max_results: number;
}

export interface ModelEntry {
  readonly model_name: string;
  readonly provider: string;
  readonly model: string;
  readonly api_base: string;
  readonly api_keys: readonly Secret[];
  readonly enabled: boolean;
  /** Seconds of silence that a call may take, before its headers and between its bytes; 0 is 120. */
  readonly request_timeout: number;
  readonly max_tokens_field: string;
  /** Any of them can hold a credential. */
  readonly custom_headers: Readonly<Record<string, Secret>>;
  readonly extra_body: Readonly<Record<string, unknown>>;
  readonly user_agent: string;
  /** URL of an HTTP proxy; empty is the environment's. */
  readonly proxy: string;
  /** Names of `model_list` to ask, in order, when this one fails; before `agents.defaults.model_fallbacks`. */
  readonly fallbacks: readonly string[];
  /** Questions a minute; 0 is no limit. */
  readonly rpm: number;
  /** How much the model thinks before it answers; empty is the provider's own choice. */
  readonly thinking_level: "" | "off" | "low" | "medium" | "high" | "xhigh" | "adaptive";
  /** `simple` tells the model of tools in the plainest JSON Schema. */
  readonly tool_schema_transform: "" | "simple";
  /** What it costs; without it, it costs nothing that is counted. */
  readonly prices?: Prices;
}

/** In units of one's money for a million tokens. */
export interface Prices {
  readonly input: number;
  readonly output: number;
}

export interface MqttChannel {
  /** Its key in `channel_list`. */
  readonly name: string;
  /** Client ids that may ask; empty, or holding `*`, is everyone. */
  readonly allow_from: readonly string[];
  /** Client ids that may not, whatever `allow_from` says; `*` is everyone. */
  readonly deny_from: readonly string[];
  /** Client ids that may change things for everyone; empty is nobody. */
  readonly admin_from: readonly string[];
  readonly settings: MqttSettings;
}

export interface MqttSettings {
  readonly broker: string;
  readonly agent_id: string;
  /** Without trailing slashes. */
  readonly topic_prefix: string;
  readonly username?: Secret;
  readonly password?: Secret;
  /** Empty is a generated one, fixed for the life of the process. */
  readonly client_id: string;
  /** Seconds. */
  readonly keep_alive: number;
  readonly qos: 0 | 1 | 2;
  readonly protocol_version: "auto" | 5 | 4;
  readonly tls: TlsSettings;
  readonly streaming: { readonly enabled: boolean; readonly interval_ms: number };
  readonly plain_text: boolean;
  /** Bytes of a whole MQTT packet; 0 is no limit of ours. */
  readonly max_message_bytes: number;
  /** Bytes of a request's payload. */
  readonly max_payload_bytes: number;
  /** Seconds for which the broker keeps requests while we are away, from QoS 1 on. */
  readonly session_expiry_secs: number;
  /** Seconds between two looks whether the broker delivers what it acknowledges; 0 is none. */
  readonly probe_secs: number;
  readonly limits: Limits & { readonly total: Limits };
}

export interface TlsSettings {
  /** Undefined in the file is false without `ca_file` and true with it; here it is decided. */
  readonly verify: boolean;
  /** Paths are absolute here; relative ones in the file are relative to the file's folder. */
  readonly ca_file?: string;
  readonly cert_file?: string;
  readonly key_file?: string;
  readonly server_name?: string;
}

/** Where a value came from. */
export type Origin =
  | { readonly from: "default" }
  | { readonly from: "file"; readonly file: string; readonly line: number }
  | { readonly from: "environment"; readonly variable: string }
  | { readonly from: "flag"; readonly flag: string };

export interface Warning {
  /** One sentence that names file, line and key. */
  readonly message: string;
  readonly remedy?: string;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly warnings: readonly Warning[];
  /** Why no agent may start by it: it would drop restrictions that the file asks for. */
  readonly refusal?: Failure;
  /** Absolute paths; `file` may not exist (`found` is then false). */
  readonly home: string;
  readonly file: string;
  readonly found: boolean;
  /** Files that hold secrets, some of which may not be there: nobody but their owner should read them. */
  readonly secretFiles: readonly string[];
  /** By dotted path as in the file at version 3: `channel_list.mqtt.settings.broker`, `model_list[0].api_base`. */
  readonly origins: ReadonlyMap<string, Origin>;
}

/** Connection flags of the command line, as they were written; they apply to every mqtt channel. */
export type ConfigFlags = {
  readonly [Name in Exclude<ConfigFlag, "insecure">]?: string;
} & { readonly insecure?: boolean };
