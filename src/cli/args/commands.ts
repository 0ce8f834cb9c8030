import type { Command } from "./command.ts";
import { CONNECTION_FLAGS, type FlagName, shownOf } from "./flags.ts";
import { AGENTS, MCP } from "./reach-commands.ts";
import { JOBS, SESSIONS, STORE } from "./state-commands.ts";

/** Flags that every command has. */
export const GLOBAL_FLAGS: readonly FlagName[] = ["debug", "no-color", "help"];

const CLIENT_ARGUMENT =
  "A client id is one level of a topic: any text without / + # and control characters, quoted if it has blanks";

const ONBOARD: Command = {
  name: "onboard",
  aliases: ["o"],
  summary: "set up broker, agent and model, and ask the first question",
  arguments: [],
  flags: ["model", "api-base", "api-key-file", "workspace", "yes", "timeout", ...CONNECTION_FLAGS],
  detail: [
    "Looks for a broker on this machine, for keys in the environment (OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY) and for Ollama, LM Studio, llama.cpp and vLLM, and asks what to use; Enter takes what it found. A flag answers its question. Without a broker it offers the built-in one, without a model the offline agent.",
    "What the configuration has stays, and its files are copied before they change. It shows the difference before it writes. Keys and passwords go into .security.yml, which only its owner can read, encrypted if PICOCLAW_KEY_PASSPHRASE is set. A new key is tried with one call.",
    "In the end it asks the agent through the broker: the gateway that runs, or one inside this process.",
  ],
  examples: [
    { line: "picoclaw onboard", does: "answer five questions, mostly with Enter" },
    { line: "picoclaw onboard --yes", does: "take everything that is found" },
    {
      line: "picoclaw onboard --yes --model openai/gpt-5.4 --api-key-file key.txt",
      does: "for a script",
    },
  ],
  exits: [3, 4, 5, 6, 7, 78, 130, 143],
};

const TRY: Command = {
  name: "try",
  summary: "start a broker and a gateway here, ask once, print the answer",
  arguments: [{ name: "message", rest: true }],
  flags: ["timeout", "format", "image", "json"],
  detail: [
    "The broker and the gateway run inside this process and end with it. Nothing is written to disk.",
  ],
  examples: [
    { line: "picoclaw try", does: "ask about this device" },
    { line: "picoclaw try how warm is it in here", does: "ask something else" },
  ],
  exits: [3, 7, 78, 130, 143],
  endsWithResult: true,
};

const GATEWAY: Command = {
  name: "gateway",
  aliases: ["g"],
  summary: "run the agent behind MQTT: requests in, answers out",
  arguments: [],
  flags: [
    "check",
    "config",
    "offline",
    "drain",
    "host",
    "port",
    "log-level",
    "log-format",
    "log-content",
    "allow-empty",
    "no-truncate",
    ...CONNECTION_FLAGS,
  ],
  detail: [
    "Runs until it gets a signal. After the first signal running answers may finish, and the exit code is 0. A second signal ends it at once.",
    "SIGHUP reads the configuration again; the log names the changes that need a restart. When its terminal is closed it ends as after a signal, unless it was started with nohup.",
  ],
  examples: [
    { line: "picoclaw gateway", does: "serve every mqtt channel of the configuration" },
    { line: "picoclaw gateway --check", does: "test whether it would run, then end" },
    {
      line: "picoclaw gateway --broker tcp://localhost:1883 --agent assistant",
      does: "serve without a configuration file",
    },
  ],
  exits: [4, 5, 78, 130, 143],
};

const SEND: Command = {
  name: "send",
  summary: "send a request as this client and print the answer",
  arguments: [
    { name: "client", required: true },
    { name: "message", rest: true },
  ],
  flags: [
    "timeout",
    "file",
    "format",
    "image",
    "no-wait",
    "no-stream",
    "id",
    "agents",
    "raw",
    "json",
    "channel",
    ...CONNECTION_FLAGS,
  ],
  detail: [
    "The message is the words after the client, a file (--file), or standard input (a pipe, or -). One newline at its end is removed. After -- every word is text, even if it starts with a dash.",
    `${CLIENT_ARGUMENT}.`,
    "Ctrl-C stops the answer: it sends /stop, which cancels all that this client has asked.",
    "--timeout is for the first part of the answer, and for the next one while the agent is still working. Each later part has 30 seconds. With --no-stream it is for the whole answer, and 10 minutes by default.",
    "With * or a comma the client names several: a,b,c, or a pattern for the clients of the conversations in this home. With --agents one client asks several agents under the prefix; a pattern finds those whose status the broker has. 16 are asked at once. Each whole answer is a line, name and text with a tab between; the end says who did not answer. The exit code is 1 if one answered with an error, else 3 if one did not answer.",
    "--json prints one part line for each part, and always exactly one result line at the end. For several it prints one answer line for each in place of the parts.",
  ],
  examples: [
    { line: "picoclaw send kitchen how warm is it", does: "ask and print the answer as it comes" },
    {
      line: "picoclaw send kitchen --format schema.json how warm is it",
      does: "get JSON of that schema, or an error",
    },
    {
      line: "picoclaw send kitchen --image photo.jpg is the stove on",
      does: "ask about an image",
    },
    { line: "picoclaw send 'garden-*' how wet is it", does: "ask in each of these conversations" },
    {
      line: "picoclaw send kitchen --agents 'garden-*' how wet is it",
      does: "ask each of these agents",
    },
    { line: "df -h | picoclaw send nas", does: "send the output of another program" },
    {
      line: "picoclaw send kitchen --json -- -5?",
      does: "for a script, with text that starts with a dash",
    },
  ],
  exits: [3, 4, 5, 6, 7, 78, 130, 143],
  endsWithResult: true,
};

const LISTEN: Command = {
  name: "listen",
  summary: "watch requests and responses as they arrive",
  arguments: [{ name: "client", rest: true }],
  flags: ["count", "for", "only", "raw", "json", "channel", ...CONNECTION_FLAGS],
  detail: [
    "Without a client it watches all clients. On a terminal each message has the local time, the client, a sign (> request, · part of an answer, < answer or its end, ! error) and its text; the end of an answer has the time since its request. In a pipe each message is one line: time, client, direction and text, separated by tabs. Control characters in it are written as \\n, \\t, \\\\ and other escapes.",
    `${CLIENT_ARGUMENT}.`,
  ],
  examples: [
    { line: "picoclaw listen", does: "watch everything until Ctrl-C" },
    { line: "picoclaw listen kitchen -n 1 --only responses", does: "wait for one response" },
    { line: "picoclaw listen --for 1m --json", does: "one minute of traffic, for a script" },
  ],
  exits: [3, 4, 5, 78, 143],
};

const AGENT: Command = {
  name: "agent",
  summary: "talk to the agent without MQTT",
  arguments: [{ name: "message", rest: true }],
  flags: ["message", "session", "format", "image"],
  detail: [
    "Without a message it reads the question from a pipe. On a terminal it holds a conversation; exit, quit or Ctrl-D ends it.",
    "In a conversation /help lists commands, Ctrl-C stops an answer, Ctrl-Z suspends it until fg, and the up key brings back what was typed, also in earlier conversations. A line that begins with a space is not kept for that.",
    "The conversation is stored under the name of the session. The next call with that name continues it.",
  ],
  examples: [
    { line: "picoclaw agent", does: "hold a conversation" },
    { line: "picoclaw agent how full is the disk", does: "ask one question" },
    { line: 'picoclaw agent -m "how full is the disk?"', does: "the same" },
  ],
  exits: [3, 7, 78, 130, 143],
};

const DOCTOR: Command = {
  name: "doctor",
  summary: "find out why it does not run, and how to mend it",
  arguments: [],
  flags: ["config", "offline", "queue", "bundle", "json", ...CONNECTION_FLAGS],
  detail: [
    "Checks the program, the configuration, the disk, the broker, the model and the clock, beside a running gateway or without one. Each line has a result (ok, warn, fail or skip), a code that stays the same, what was found, and how to mend it. It ends with 1 if a check fails.",
    "It publishes empty messages to topics of the agent, because only an echo proves what a broker allows: gateways ignore them. It calls the model once, unless there is --offline. With --queue it publishes 1,100 more, to a topic that no gateway reads, or, where an access list forbids that, to the requests of its own user; a gateway at a mosquitto may warn of those that were dropped.",
  ],
  examples: [
    { line: "picoclaw doctor", does: "check everything" },
    {
      line: "picoclaw doctor --bundle report.tar.gz",
      does: "write everything for a bug report, with secrets masked",
    },
    { line: "picoclaw doctor --json --offline", does: "for a script, without calling the model" },
  ],
  exits: [130, 143],
  endsWithResult: true,
};

const STATUS: Command = {
  name: "status",
  aliases: ["s"],
  summary: "ask the running gateway how it is",
  arguments: [],
  flags: ["config", "ready", "json"],
  detail: [
    "Asks every gateway of this home over its socket in the state folder. Starts nothing, and connects to no broker.",
    "The exit code is 0 if a gateway runs and is connected, 3 if none runs, and 4 if one runs and is not ready.",
  ],
  examples: [
    { line: "picoclaw status", does: "version, broker, model, queue, usage, last request" },
    { line: "picoclaw status --ready", does: "for HEALTHCHECK in a Dockerfile" },
    { line: "picoclaw status --json", does: "everything that is known, for a script" },
  ],
  exits: [3, 4, 78],
};

const ACL: Command = {
  name: "acl",
  summary: "print an access list for the broker",
  arguments: [
    { name: "broker", required: true, choices: ["mosquitto", "emqx", "hivemq", "vernemq"] },
  ],
  flags: ["by", "channel", ...CONNECTION_FLAGS],
  detail: [
    "The gateway knows a client only by its topic, so the broker must stop clients from using each other's topics. With this list a device can publish its own requests and read its own responses, the gateway can read all requests and publish all responses, everyone can read status and info, and nothing else is allowed.",
    "What is configured adds what it needs, and no more: devices, watched topics, ask_agent, A2A, MCP over MQTT, Home Assistant. What devices report is read as far as the profiles of the clients say.",
    "Comments in the list say what else the broker needs, such as users.",
  ],
  examples: [
    { line: "picoclaw acl mosquitto > picoclaw.acl", does: "for acl_file in mosquitto.conf" },
    {
      line: "picoclaw acl emqx --by client",
      does: "if the broker knows devices by their client id",
    },
  ],
  exits: [78],
};

const CONFIG: Command = {
  name: "config",
  summary: "show, check and change the configuration",
  arguments: [
    {
      name: "subcommand",
      required: true,
      choices: ["path", "show", "get", "set", "validate", "schema", "encrypt", "decrypt"],
    },
    { name: "key" },
    { name: "value" },
  ],
  flags: ["origin", "to", "dry-run", "rewrite-config", "json", ...CONNECTION_FLAGS],
  detail: [
    "show prints the configuration in force, with *** for each secret: all of it, or what is at and below a key. With --origin each line says where its value comes from. get prints the value of one key, and fails if it is not set. path prints where config.json is. A key is written with dots: gateway.port, channel_list.mqtt.settings.broker, model_list.gpt.model. help settings lists them all.",
    "set changes one value in config.json; comments, order and the mode of the file stay. Nothing is written if the configuration would then be wrong. A value is text, or JSON where the key wants it. Secrets go into .security.yml: they are read from a pipe or typed without echo, and never taken from the command line.",
    "validate prints what is wrong or suspicious, one finding per line, and ends with 78 if a value is wrong. schema prints a JSON Schema of config.json, with which editors complete and check it.",
    "encrypt replaces every plain secret in .security.yml with an enc:// value. With --to file it moves the secret to a file of its own beside config.json and leaves a file:// reference. The rest of .security.yml, and secrets that are references already, do not change.",
    "The passphrase comes from PICOCLAW_KEY_PASSPHRASE or the systemd credential picoclaw-key-passphrase; without either you are asked for it. The gateway needs the same passphrase at each start. If it is lost, all secrets must be entered again.",
    "decrypt is the reverse: it replaces each enc:// value with its secret in plain text.",
    "Secrets in config.json are only listed, unless --rewrite-config allows to change that file.",
  ],
  examples: [
    { line: "picoclaw config show --origin", does: "what holds, and why" },
    { line: "picoclaw config get agents.defaults.model_name", does: "one value, for a script" },
    { line: "picoclaw config set gateway.port 18791", does: "change one value" },
    { line: "picoclaw config set gateway.store_password", does: "type a secret" },
    { line: "picoclaw config schema > config.schema.json", does: "for an editor" },
    {
      line: "picoclaw config encrypt --dry-run",
      does: "list the keys that would change, never their values",
    },
    { line: "picoclaw config encrypt", does: "encrypt .security.yml" },
    { line: "picoclaw config encrypt --to file", does: "move each secret to its own file" },
  ],
  exits: [78, 130, 143],
};

const SERVICE: Command = {
  name: "service",
  summary: "install the gateway as a service of systemd",
  arguments: [{ name: "subcommand", required: true, choices: ["install", "uninstall", "status"] }],
  flags: ["user-service", "system", "dry-run", "json"],
  detail: [
    "install writes picoclaw.service, enables and starts it; a second install changes only what differs. uninstall stops and removes it, and leaves all data. --dry-run shows the unit and the commands, and does nothing. status ends with 3 if the service does not run.",
    "Root installs it for the machine: it runs as a user of its own, with its home in /var/lib/picoclaw. Other users, and --user, install it for themselves. On OpenRC and procd install prints an init script and says what to do with it.",
  ],
  examples: [
    { line: "picoclaw service install --dry-run", does: "see what would be written" },
    { line: "picoclaw service install --user", does: "run it as yourself" },
  ],
  exits: [3],
};

const LOGS: Command = {
  name: "logs",
  summary: "print the log of the service",
  arguments: [],
  flags: ["follow", "lines", "user-service", "system"],
  detail: [
    "It is what journalctl has of picoclaw.service. A gateway that is no service of systemd logs to its standard error.",
  ],
  examples: [{ line: "picoclaw logs -f --lines 10", does: "the last ten, and what comes" }],
  exits: [130, 143],
};

const VERSION_COMMAND: Command = {
  name: "version",
  aliases: ["v"],
  summary: "print the version",
  arguments: [],
  flags: ["licenses", "json"],
  examples: [
    { line: "picoclaw version", does: "print version, runtime and platform" },
    { line: "picoclaw --version", does: "print only the version" },
    {
      line: "picoclaw version --licenses",
      does: "print the licences of everything in the program",
    },
  ],
};

/** Topics of `help` besides commands. */
export const TOPICS = ["settings", "environment", "exit-codes", "wire", "json", "man"] as const;

const HELP: Command = {
  name: "help",
  summary: "explain a command, or print a page of the documentation",
  arguments: [{ name: "command" }],
  flags: [],
  examples: [
    { line: "picoclaw help send", does: "same as picoclaw send --help" },
    { line: "picoclaw help exit-codes", does: "what each exit code means" },
    { line: "picoclaw help settings", does: "every key of the configuration, with its default" },
  ],
};

/** The shells that `completion` supports. */
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

/** All commands, in the order of help. */
export const COMMANDS: readonly Command[] = [
  ONBOARD,
  TRY,
  GATEWAY,
  SEND,
  LISTEN,
  AGENT,
  AGENTS,
  DOCTOR,
  STATUS,
  SESSIONS,
  JOBS,
  MCP,
  STORE,
  ACL,
  CONFIG,
  SERVICE,
  LOGS,
  COMPLETION,
  VERSION_COMMAND,
  HELP,
];

/** The name of a command, then its aliases. */
export function namesOf({ name, aliases = [] }: Command): readonly string[] {
  return [name, ...aliases];
}

/** A command by its name or an alias. */
export function findCommand(word: string): Command | undefined {
  return COMMANDS.find((command) => namesOf(command).includes(word));
}

/** The values of a command's first argument that completion can offer. */
export function candidatesOf(command: Command): readonly string[] {
  if (command.name === "help") return [...COMMANDS.map(({ name }) => name), ...TOPICS];
  return command.arguments[0]?.choices ?? [];
}

/** The flags of a command that completion offers. */
export function shownFlags(command: Command): readonly FlagName[] {
  return shownOf([...command.flags, ...GLOBAL_FLAGS]);
}
