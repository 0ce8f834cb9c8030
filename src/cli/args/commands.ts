import { CONNECTION_FLAGS, type FlagName, flagNamed } from "./flags.ts";

export type CommandName =
  | "try"
  | "gateway"
  | "send"
  | "listen"
  | "agent"
  | "sessions"
  | "acl"
  | "config"
  | "completion"
  | "version"
  | "help";

/** One command, as help, completion and the parser need it. What it does is in `commands/<name>.ts`. */
export interface Command {
  readonly name: CommandName;
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** Its positional arguments, in order. */
  readonly arguments: readonly Argument[];
  readonly flags: readonly FlagName[];
  /** Paragraphs for its help. */
  readonly detail?: readonly string[];
  readonly examples: readonly Example[];
  /** The exit codes that it can end with, beside 0, 1 and 2. */
  readonly exits?: readonly number[];
  /** With --json it prints exactly one `result` line, whatever happens. */
  readonly endsWithResult?: true;
}

export interface Argument {
  readonly name: string;
  readonly required?: true;
  /** Takes all words that are left. */
  readonly rest?: true;
  /** What it can be; anything where absent. */
  readonly choices?: readonly string[];
}

export interface Example {
  readonly line: string;
  readonly does: string;
}

/** Flags that every command has. */
export const GLOBAL_FLAGS: readonly FlagName[] = ["debug", "no-color", "help"];

const CLIENT_ARGUMENT = "A client id has 1 to 128 characters out of A-Z a-z 0-9 _ . : @ -";

const TRY: Command = {
  name: "try",
  summary: "see the whole path here and now: broker, gateway, one request",
  arguments: [{ name: "message", rest: true }],
  flags: ["timeout", "json"],
  detail: ["Starts a broker and a gateway inside this process, asks once, and writes nothing."],
  examples: [
    { line: "picoclaw try", does: "ask for the state of this device" },
    { line: "picoclaw try how warm is it in here", does: "ask something else" },
  ],
  exits: [3, 7, 78, 130, 143],
  endsWithResult: true,
};

const GATEWAY: Command = {
  name: "gateway",
  aliases: ["g"],
  summary: "run: MQTT requests in, the agent's answers out",
  arguments: [],
  flags: [
    "check",
    "drain",
    "host",
    "log-level",
    "log-content",
    "allow-empty",
    "no-truncate",
    ...CONNECTION_FLAGS,
  ],
  detail: [
    "Runs until a signal comes. The first one lets running answers finish and ends with 0, the second ends at once.",
  ],
  examples: [
    { line: "picoclaw gateway", does: "serve every mqtt channel of the configuration" },
    { line: "picoclaw gateway --check", does: "would it run? Say so and end" },
    {
      line: "picoclaw gateway --broker tcp://localhost:1883 --agent assistant",
      does: "serve without a configuration file",
    },
  ],
  exits: [4, 5, 78, 130, 143],
};

const SEND: Command = {
  name: "send",
  summary: "ask as that client and print the answer",
  arguments: [
    { name: "client", required: true },
    { name: "message", rest: true },
  ],
  flags: [
    "timeout",
    "file",
    "no-wait",
    "no-stream",
    "id",
    "raw",
    "json",
    "channel",
    ...CONNECTION_FLAGS,
  ],
  detail: [
    "The message is the words after the client, or a file, or what is piped in (- says so); its last newline does not count. After -- all is text, even what starts with a dash.",
    `${CLIENT_ARGUMENT}.`,
    "--json prints a part line for each part and one result line at the end, whatever happens.",
  ],
  examples: [
    { line: "picoclaw send kitchen how warm is it", does: "ask and print the answer as it comes" },
    { line: "df -h | picoclaw send nas", does: "send what another program prints" },
    { line: "picoclaw send kitchen --json -- -5?", does: "for a script; text with a dash" },
  ],
  exits: [3, 4, 5, 6, 7, 78, 130, 143],
  endsWithResult: true,
};

const LISTEN: Command = {
  name: "listen",
  summary: "watch requests and responses as they pass",
  arguments: [{ name: "client", rest: true }],
  flags: ["count", "for", "only", "raw", "json", "channel", ...CONNECTION_FLAGS],
  detail: [
    "Without a client: all of them. In a pipe each message is one line: time, client, direction and text with tabs between, where \\n, \\t, \\\\ and other escapes stand for what they name.",
    `${CLIENT_ARGUMENT}.`,
  ],
  examples: [
    { line: "picoclaw listen", does: "watch everything until Ctrl-C" },
    { line: "picoclaw listen kitchen -n 1 --only responses", does: "wait for one response" },
    { line: "picoclaw listen --for 1m --json", does: "a minute of traffic for a script" },
  ],
  exits: [3, 4, 5, 78, 143],
};

const AGENT: Command = {
  name: "agent",
  summary: "talk to the agent without MQTT",
  arguments: [],
  flags: ["message", "session"],
  detail: [
    "Without -m it takes what is piped in; on a terminal it is a conversation, which exit, quit or Ctrl-D ends.",
    "What was said is kept under the name of the session, and the next call goes on there.",
  ],
  examples: [
    { line: "picoclaw agent", does: "a conversation" },
    { line: 'picoclaw agent -m "how full is the disk?"', does: "one question" },
  ],
  exits: [3, 7, 78, 130, 143],
};

const SESSIONS: Command = {
  name: "sessions",
  summary: "conversations: list, read, export or delete them",
  arguments: [
    { name: "what", required: true, choices: ["list", "show", "export", "delete"] },
    { name: "client" },
  ],
  flags: ["channel", "json"],
  detail: [
    "A conversation is named by its client id, one of the agent command by its session. Where a client has one in several channels, --channel says which; cli is that of the agent command.",
    "list prints client, channel, turns, time of the last one (UTC) and bytes, the latest first. show prints all that was said, with times, for the eye; export prints it as Markdown. --json makes both JSON Lines, one message a line.",
    "delete asks nothing and cannot be undone. It works while a gateway runs; a turn that runs then begins the conversation anew.",
  ],
  examples: [
    { line: "picoclaw sessions list", does: "every conversation that is kept" },
    { line: "picoclaw sessions show kitchen", does: "what was said with that client" },
    { line: "picoclaw sessions export cli:default --json", does: "for a script" },
    { line: "picoclaw sessions delete kitchen --channel mqtt", does: "for good" },
  ],
  exits: [78, 130, 143],
};

const ACL: Command = {
  name: "acl",
  summary: "print an access list for the broker",
  arguments: [
    { name: "broker", required: true, choices: ["mosquitto", "emqx", "hivemq", "vernemq"] },
  ],
  flags: ["by", "channel", ...CONNECTION_FLAGS],
  detail: [
    "The gateway knows a client by its topic alone, so the broker has to see to it that nobody asks or listens as another. The list lets a device publish its own requests and read its own responses, the gateway's user do the reverse for all, everyone read status and info, and nobody do anything else.",
    "What else the broker needs, such as users, is told in the comments of the list.",
  ],
  examples: [
    { line: "picoclaw acl mosquitto > picoclaw.acl", does: "for acl_file in mosquitto.conf" },
    { line: "picoclaw acl emqx --by client", does: "where devices are known by their client id" },
  ],
  exits: [78],
};

const CONFIG: Command = {
  name: "config",
  summary: "the configuration: encrypt its secrets",
  arguments: [{ name: "what", required: true, choices: ["encrypt"] }],
  flags: ["to", "dry-run", "rewrite-config", "json"],
  detail: [
    "encrypt puts a reference in the place of every secret that stands in plain in .security.yml: an enc:// value, or with --to file a file beside config.json that it moves the secret to. All else in the file stays as it is, and what is a reference already, too.",
    "The passphrase comes from PICOCLAW_KEY_PASSPHRASE or the systemd credential picoclaw-key-passphrase, else it is asked for; the gateway needs the same at each start. Whoever loses it has to enter all secrets anew.",
    "Secrets in config.json are only told of, unless --rewrite-config says that it may be written.",
  ],
  examples: [
    {
      line: "picoclaw config encrypt --dry-run",
      does: "what would be encrypted? Keys, never values",
    },
    { line: "picoclaw config encrypt", does: "encrypt .security.yml" },
    { line: "picoclaw config encrypt --to file", does: "move each secret to a file of its own" },
  ],
  exits: [78, 130, 143],
};

const VERSION_COMMAND: Command = {
  name: "version",
  aliases: ["v"],
  summary: "show the version",
  arguments: [],
  flags: ["licenses", "json"],
  examples: [
    { line: "picoclaw version", does: "the version, the runtime and the platform" },
    { line: "picoclaw --version", does: "the version alone" },
    { line: "picoclaw version --licenses", does: "whose work it is made of, on what terms" },
  ],
};

/** What `help` explains beside commands. */
export const TOPICS = ["exit-codes"] as const;

const HELP: Command = {
  name: "help",
  summary: "explain a command, or the exit codes",
  arguments: [{ name: "command" }],
  flags: [],
  examples: [
    { line: "picoclaw help send", does: "the same as picoclaw send --help" },
    { line: "picoclaw help exit-codes", does: "what the exit codes mean" },
  ],
};

/** The shells that `completion` writes for. */
const SHELLS = ["bash", "zsh", "fish"] as const;

const COMPLETION: Command = {
  name: "completion",
  summary: "print a completion script for a shell",
  arguments: [{ name: "shell", required: true, choices: SHELLS }],
  flags: [],
  examples: [
    { line: 'eval "$(picoclaw completion bash)"', does: "in ~/.bashrc" },
    { line: 'eval "$(picoclaw completion zsh)"', does: "in ~/.zshrc, after compinit" },
    {
      line: "picoclaw completion fish > ~/.config/fish/completions/picoclaw.fish",
      does: "once, for fish",
    },
  ],
};

/** Every command there is, in the order in which help lists them. */
export const COMMANDS: readonly Command[] = [
  TRY,
  GATEWAY,
  SEND,
  LISTEN,
  AGENT,
  SESSIONS,
  ACL,
  CONFIG,
  COMPLETION,
  VERSION_COMMAND,
  HELP,
];

/** What a command can be called by: its name first. */
export function namesOf({ name, aliases = [] }: Command): readonly string[] {
  return [name, ...aliases];
}

/** A command by its name or an alias. */
export function findCommand(word: string): Command | undefined {
  return COMMANDS.find((command) => namesOf(command).includes(word));
}

/** What the first argument of a command can be, as far as it is known beforehand. */
export function candidatesOf(command: Command): readonly string[] {
  if (command.name === "help") return [...COMMANDS.map(({ name }) => name), ...TOPICS];
  return command.arguments[0]?.choices ?? [];
}

/** The flags of a command that completion offers. */
export function shownFlags(command: Command): readonly FlagName[] {
  return [...command.flags, ...GLOBAL_FLAGS].filter((name) => flagNamed(name).hidden !== true);
}
