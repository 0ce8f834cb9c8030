import { Failure } from "../../base/failure.ts";
import { LOG_LEVELS } from "../../base/log.ts";
import { CONFIG_FLAGS } from "../../config/flags.ts";
import { parseDuration } from "../duration.ts";

/** One flag of the command line. It means the same for every command that has it. */
export interface Flag {
  readonly type: "boolean" | "string" | "file" | "count" | "duration" | "choice";
  readonly summary: string;
  readonly letter?: string;
  /** The placeholder of the value in help: `URL`. */
  readonly value?: string;
  /** Of a choice: the allowed values. */
  readonly choices?: readonly string[];
  /** Milliseconds, of a duration. */
  readonly default?: number;
  /** Of a duration or a count: 0 is allowed. */
  readonly zero?: true;
  /** Of a count: the largest one. */
  readonly most?: number;
  /** May be given several times; otherwise the last value counts. */
  readonly repeats?: true;
  /** Accepted for scripts of the Go program, but not shown. */
  readonly hidden?: true;
}

/** All flags. Help, checks and completion are derived from this table. */
export const FLAGS = {
  ...CONFIG_FLAGS,
  "connect-timeout": {
    type: "duration",
    value: "TIME",
    default: 10_000,
    summary: "how long connecting may take",
  },
  channel: {
    type: "string",
    value: "NAME",
    summary: "the channel to use, by its name in channel_list",
  },
  client: {
    type: "string",
    value: "ID",
    summary: "only what belongs to this client",
  },
  timeout: {
    type: "duration",
    letter: "t",
    value: "TIME",
    default: 120_000,
    summary: "how long to wait for the first part of the answer",
  },
  file: {
    type: "file",
    letter: "f",
    value: "FILE",
    summary: "read the message from a file, or from standard input (-)",
  },
  format: {
    type: "file",
    value: "FILE",
    summary: "ask for an answer in JSON that fits the JSON Schema in this file",
  },
  image: {
    type: "file",
    value: "FILE",
    repeats: true,
    summary: "ask about this JPEG, PNG or WebP image; up to four times",
  },
  "no-wait": {
    type: "boolean",
    summary: "end as soon as the broker has the message; print no answer",
  },
  "no-stream": { type: "boolean", summary: "ask for the answer in one piece" },
  id: { type: "string", value: "ID", summary: "the id of the request (default: a random one)" },
  agents: {
    type: "string",
    value: "AGENTS",
    summary: "ask these agents: names with commas between, or patterns such as garden-*",
  },
  watch: { type: "boolean", summary: "go on, and print each change" },
  raw: { type: "boolean", summary: "print the payloads as they arrive, one per line" },
  count: {
    type: "count",
    letter: "n",
    value: "N",
    summary: "end after N messages",
  },
  for: { type: "duration", value: "TIME", summary: "end after this time" },
  only: {
    type: "choice",
    value: "WHAT",
    choices: ["requests", "responses"],
    summary: "show only requests, or only responses",
  },
  by: {
    type: "choice",
    value: "IDENTITY",
    choices: ["user", "client"],
    summary: "how the broker knows a device: by its user name (default) or its client id",
  },
  message: {
    type: "string",
    letter: "m",
    value: "TEXT",
    summary: "ask this, print the answer and end",
  },
  session: {
    type: "string",
    letter: "s",
    value: "NAME",
    summary: "the conversation to continue (default: cli:default)",
  },
  check: {
    type: "boolean",
    summary: "check all that doctor checks, and end without serving",
  },
  bundle: {
    type: "file",
    value: "FILE",
    summary: "also write an archive for a bug report (tar.gz), without secrets",
  },
  offline: { type: "boolean", summary: "do not call the model for a check" },
  queue: {
    type: "boolean",
    summary: "also measure how many messages the broker queues for a gateway that is away",
  },
  drain: {
    type: "duration",
    value: "TIME",
    default: 20_000,
    zero: true,
    summary: "how long running answers may take to finish after a signal",
  },
  "log-content": { type: "boolean", summary: "also log the text of questions and answers" },
  "log-level": {
    type: "choice",
    value: "LEVEL",
    choices: LOG_LEVELS,
    summary: "the lowest level to log",
  },
  "log-format": {
    type: "choice",
    value: "FORMAT",
    choices: ["text", "json"],
    summary: "how to log (default: text on a terminal, else json)",
  },
  config: {
    type: "file",
    value: "FILE",
    summary: "the configuration file (default: config.json in PICOCLAW_HOME)",
  },
  host: {
    type: "string",
    value: "HOST",
    summary: "the address of /health, /ready, /metrics and the page",
  },
  port: {
    type: "count",
    value: "N",
    zero: true,
    most: 65_535,
    summary: "the port of /health, /ready, /metrics and the page; 0 picks a free one",
  },
  "allow-empty": { type: "boolean", letter: "E", hidden: true, summary: "start without a model" },
  "no-truncate": { type: "boolean", letter: "T", hidden: true, summary: "log whole texts" },
  licenses: {
    type: "boolean",
    summary: "print the licences of everything in the program, with their texts",
  },
  "user-service": {
    type: "boolean",
    summary: "the service of your own user; also --user",
  },
  system: { type: "boolean", summary: "the service of the machine, as for root without a flag" },
  follow: { type: "boolean", summary: "print further lines as they come; also -f" },
  lines: { type: "count", value: "N", summary: "how many lines to begin with (100)" },
  origin: { type: "boolean", summary: "also say where each value comes from" },
  from: {
    type: "choice",
    value: "STORE",
    choices: ["sqlite"],
    summary: "the store to copy: that of this home",
  },
  to: {
    type: "choice",
    value: "WHAT",
    choices: ["enc", "file", "postgres"],
    summary:
      "where it goes: for secrets enc (an enc:// value, default) or file; for a store postgres",
  },
  "dry-run": { type: "boolean", summary: "print what would change, and change nothing" },
  "rewrite-config": { type: "boolean", summary: "also change config.json" },
  model: {
    type: "string",
    value: "MODEL",
    summary: "the model, as provider/name (openai/gpt-5.4, ollama/qwen3), or offline",
  },
  "api-base": {
    type: "string",
    value: "URL",
    summary: "the address of the model's server (default: the provider's)",
  },
  "api-key-file": {
    type: "file",
    value: "FILE",
    summary: "a file that holds only the model's key, or standard input (-)",
  },
  workspace: {
    type: "file",
    value: "FOLDER",
    summary: "the folder of the agent's files (default: workspace in PICOCLAW_HOME)",
  },
  yes: { type: "boolean", letter: "y", summary: "ask nothing, and take all defaults" },
  ready: {
    type: "boolean",
    summary: "print one line, and end with 0 if all is ready, else with 1: for a container's probe",
  },
  json: { type: "boolean", summary: "print JSON Lines" },
  debug: { type: "boolean", letter: "d", summary: "log everything, and print stacks of errors" },
  "no-color": { type: "boolean", summary: "print no colours" },
  help: { type: "boolean", letter: "h", summary: "print help and end" },
  version: { type: "boolean", letter: "v", summary: "print the version and end" },
} as const satisfies Record<string, Flag>;

export type FlagName = keyof typeof FLAGS;

/** Flags that override the configuration of a connection. */
export const CONNECTION_FLAGS: readonly FlagName[] = [
  ...Object.keys(CONFIG_FLAGS).filter(isFlagName),
  "connect-timeout",
];

type NameOf<Kind> = {
  [Name in FlagName]: (typeof FLAGS)[Name] extends Kind ? Name : never;
}[FlagName];
type Choice = { type: "choice" };
type Duration = { type: "duration" };
type DefaultName = NameOf<Duration & { default: number }>;

/** The flags of one command line; every value has the type of its flag. */
export interface Flags {
  has(name: NameOf<{ type: "boolean" }>): boolean;
  text(name: NameOf<{ type: "string" | "file" }>): string | undefined;
  /** All values of a flag, in their order. */
  texts(name: NameOf<{ repeats: true }>): readonly string[];
  choice<Name extends NameOf<Choice>>(
    name: Name,
  ): (typeof FLAGS)[Name]["choices"][number] | undefined;
  count(name: NameOf<{ type: "count" }>): number | undefined;
  /** Milliseconds. */
  duration(name: DefaultName, otherwise?: number): number;
  /** Milliseconds, of a flag without a default. */
  limit(name: Exclude<NameOf<Duration>, DefaultName>): number | undefined;
}

/** Typed access to flags: those without a value that are set, and the values of the others. */
export function createFlags(
  on: ReadonlySet<FlagName>,
  values: ReadonlyMap<FlagName, readonly string[]>,
): Flags {
  const last = (name: FlagName) => values.get(name)?.at(-1);
  const milliseconds = (name: FlagName) => {
    const text = last(name);
    return text === undefined ? undefined : parseDuration(text);
  };
  return {
    has: (name) => on.has(name),
    text: last,
    texts: (name) => values.get(name) ?? [],
    choice: (name) => FLAGS[name].choices.find((choice) => choice === last(name)),
    count: (name) => (values.has(name) ? Number(last(name)) : undefined),
    duration: (name, otherwise = FLAGS[name].default) => milliseconds(name) ?? otherwise,
    limit: milliseconds,
  };
}

/** How a command prints messages; `--json` and `--raw` exclude each other. */
export type OutputFormat = "text" | "raw" | "json";

export function outputFormat(flags: Flags): OutputFormat {
  if (flags.has("json") && flags.has("raw")) {
    throw new Failure("usage", "--json and --raw exclude each other");
  }
  if (flags.has("json")) return "json";
  return flags.has("raw") ? "raw" : "text";
}

/** The names of all flags, in the order of the table. */
export function flagNames(): readonly FlagName[] {
  return Object.keys(FLAGS).filter(isFlagName);
}

/** Whether a word without its dashes names a flag. */
export function isFlagName(word: string): word is FlagName {
  return Object.hasOwn(FLAGS, word);
}

/** A flag by its name, as the general type `Flag`. */
export function flagNamed(name: FlagName): Flag {
  return FLAGS[name];
}

/** The flags that help and completion show. */
export function shownOf(names: readonly FlagName[]): readonly FlagName[] {
  return names.filter((name) => flagNamed(name).hidden !== true);
}
