import { isTopicFilter } from "../../base/topic-filter.ts";
import { GO_KEYS, GO_SEARCHES } from "../compat/go/keys.ts";
import { list, untypedLeaf } from "../tree.ts";
import type { Leaf, Tree } from "../tree.ts";
import {
  address,
  anyObject,
  bool,
  choice,
  described,
  integer,
  oneOrMore,
  scalar,
  secret,
  text,
  texts,
  wholeNumber,
} from "../values.ts";
import type { Read } from "../values.ts";
import { apart, entries, group, items, key, listOf, named, optional } from "./key.ts";
import { MCP } from "./mcp.ts";
import { FILTER, WATCH } from "./watch.ts";

const GIB = 2 ** 30;
const VARIABLE = { variable: true } as const;

const enabled = () => key(bool(), true, "Whether the agent has this tool.", VARIABLE);
/** A tool with nothing but a switch. Go PicoClaw has further keys for some. */
const toggle = () => group({ enabled: enabled() }, "any");

const search = {
  enabled: key(bool(), false, "Whether this search may be used."),
  max_results: key(integer(0, 100), 5, "Most results of one search."),
};
const keyed = {
  ...search,
  api_keys: items(oneOrMore(secret()), "Keys, which are used in turn.", { reference: true }),
};
const base_url = (doc: string) => key(address("an http or https URL", isUrl), "", doc);
/** Regular expressions. In a variable, commas separate them, as in Go PicoClaw. */
const pattern = (): Read<string[]> => {
  const read = oneOrMore(scalar("a regular expression", readPattern));
  return described(read.schema ?? {}, (found, path, report) =>
    read(separated(found), path, report),
  );
};

function separated(found: Tree): Tree {
  const { kind, origin } = found;
  if (kind !== "leaf" || origin.from !== "environment") return found;
  return list(
    found.text.split(",").map((each) => untypedLeaf(each, origin)),
    origin,
  );
}

const WEB = group(
  {
    enabled: key(bool(), true, "Whether the agent has the tool `web_search`.", VARIABLE),
    provider: key(
      choice("auto, searxng, brave, tavily or duckduckgo", {
        "": "auto",
        auto: "auto",
        searxng: "searxng",
        brave: "brave",
        tavily: "tavily",
        duckduckgo: "duckduckgo",
        ...GO_SEARCHES,
      }),
      "auto",
      "The search; `auto` is the first that is enabled and has what it needs.",
    ),
    searxng: group({ ...search, base_url: base_url("The address of the SearXNG server.") }, "any"),
    brave: group(keyed, "any"),
    tavily: group({ ...keyed, base_url: base_url("Another address of the service.") }, "any"),
    duckduckgo: group(search, "any"),
    proxy: key(text(), "", "URL of a proxy for searches and fetches."),
    fetch_limit_bytes: key(integer(0, GIB), 10_485_760, "Bytes of a page that are read."),
    format: key(
      choice("plaintext or markdown", {
        "": "plaintext",
        plaintext: "plaintext",
        text: "plaintext",
        markdown: "markdown",
      }),
      "plaintext",
      "How the model gets a page: `plaintext` or `markdown`.",
    ),
    private_host_whitelist: items(
      texts(),
      "Private hosts, addresses and networks that may nevertheless be fetched.",
    ),
  },
  GO_KEYS.web,
);

const EXEC = group({
  enabled: enabled(),
  enable_deny_patterns: key(bool(), true, "Whether destructive commands are refused.", VARIABLE),
  allow_remote: optional(
    bool(),
    "True: MQTT clients without a profile may use every tool. False: no client may run commands, whatever its profile says.",
    VARIABLE,
  ),
  custom_deny_patterns: items(
    pattern(),
    "Regular expressions, matched against the command in lower case: these are refused.",
    VARIABLE,
  ),
  custom_allow_patterns: items(
    pattern(),
    "Regular expressions, matched against the command in lower case: these are allowed.",
    VARIABLE,
  ),
  timeout_seconds: key(
    integer(0, 86_400),
    60,
    "Seconds that a command may take; 0 is the turn's own limit.",
    VARIABLE,
  ),
  sandbox: key(
    choice("auto, bwrap or none", { "": "auto", auto: "auto", bwrap: "bwrap", none: "none" }),
    "auto",
    "`auto`: bubblewrap where it works; `bwrap`: always; `none`: never.",
    VARIABLE,
  ),
  allow_network: key(bool(), false, "Whether commands in the sandbox reach the network.", VARIABLE),
  pin: optional(
    text(),
    "Where gateways share a store: the `gateway.name` of the one that may run commands and use files; else none may.",
    VARIABLE,
  ),
});

const READ_FILE = group({
  enabled: enabled(),
  mode: key(
    choice("bytes or lines", { "": "bytes", bytes: "bytes", lines: "lines" }),
    "bytes",
    "What offsets in a file count: `bytes` or `lines`.",
  ),
  max_read_file_size: key(integer(0, GIB), 65_536, "Bytes of one read."),
});

const filters = (doc: string) => items(oneOrMore(text(FILTER, isTopicFilter)), doc);
const paths = (doc: string) => items(oneOrMore(text("a path", isPath)), doc);

/** The permissions of clients; nothing else is allowed. */
export const PROFILE = group({
  tools: items(
    texts(),
    "Names of tools; `*` is every tool, `server.tool` and `server.*` are those of an [MCP server](mcp.md).",
  ),
  read: paths("Files and folders to read, with everything below them."),
  write: paths("Files and folders to write, with everything below them."),
  topics: group({
    read: filters("Topic filters to read."),
    publish: filters("Topic filters to publish to."),
  }),
  agents: items(
    texts(),
    "Ids of the agents that the tool `ask_agent` may ask; `*` and `?` as in the name of a profile.",
  ),
  confirm: group({
    by: items(
      texts(),
      "Ids of the clients of whom one has to allow these calls, on the same channel.",
    ),
    tools: items(
      texts(),
      "The tools whose calls wait for that, or classes of what they act on, or `tool:class`; if left out, all that may change something.",
    ),
    minutes: key(integer(1, 1440), 10, "How long a call waits; then it is not made."),
  }),
  message_to: items(
    texts(),
    "Ids of the other clients to which the tool `message` may write; `*` and `?` as in the name of a profile.",
  ),
});

/** Tools with little more than a switch, as Go PicoClaw names them. */
const SWITCHED = {
  append_file: toggle(),
  ask_agent: toggle(),
  cron: group({
    enabled: enabled(),
    allow_command: key(bool(), true, "Whether [jobs](agent.md#jobs) may run commands.", VARIABLE),
    exec_timeout_minutes: key(
      integer(0, 1440),
      5,
      "Minutes for a command of a job; `tools.exec.timeout_seconds` holds, too. 0 is no other limit.",
      VARIABLE,
    ),
  }),
  device: toggle(),
  devices: toggle(),
  edit_file: toggle(),
  list_dir: toggle(),
  load_image: toggle(),
  memory: toggle(),
  message: toggle(),
  mqtt: group({ enabled: enabled(), watch: listOf(WATCH) }, "any"),
  set_device: toggle(),
  skills: toggle(),
  spawn: toggle(),
  spawn_status: toggle(),
  subagent: toggle(),
  web_fetch: toggle(),
  write_file: toggle(),
};

export const TOOLS = group(
  {
    allow_read_paths: items(
      pattern(),
      "Regular expressions of paths outside of the workspace that may be read.",
      VARIABLE,
    ),
    allow_write_paths: items(
      pattern(),
      "Regular expressions of paths outside of the workspace that may be written.",
      VARIABLE,
    ),
    filter_sensitive_data: key(
      bool(),
      true,
      "Whether secrets are masked in what tools tell the model.",
      VARIABLE,
    ),
    filter_min_length: key(
      integer(0, GIB),
      8,
      "Secrets are masked only in tool results with at least so many characters.",
      VARIABLE,
    ),
    exec: EXEC,
    read_file: READ_FILE,
    web: WEB,
    mcp: MCP,
    profiles: named(PROFILE),
    ...SWITCHED,
  },
  GO_KEYS.tools,
);

type Switched = keyof typeof SWITCHED;

export const SWITCHED_TOOLS = Object.keys(SWITCHED).filter(
  (name): name is Switched => name in SWITCHED,
);

/** What lists of tools can name, as models know them; `skills` is what the settings call `use_skill`. */
export const TOOL_NAMES: readonly string[] = [
  ...SWITCHED_TOOLS.filter((name) => name !== "skills"),
  "exec",
  "read_file",
  "use_skill",
  "web_search",
];

/** Milliseconds; 0 is the usual ones. */
const timeLimit = (usual: number, doc: string) =>
  key(
    wholeNumber("a whole number of milliseconds up to 3600000", (number) => {
      if (number > 3_600_000) return undefined;
      return number <= 0 ? usual : number;
    }),
    usual,
    doc,
  );

const words = (doc: string) => items(oneOrMore(text("text without NUL", isWord)), doc);

/** A program that is asked about tool calls. */
export const PROCESS_HOOK = group({
  enabled: key(bool(), false, "Whether the hook is asked."),
  priority: key(
    integer(-1_000_000_000, 1_000_000_000),
    0,
    "The lowest is asked first, then by name.",
  ),
  transport: key(
    text('"stdio"', (written) => written === "" || written === "stdio"),
    "stdio",
    "How it is asked: by lines on standard input and output.",
  ),
  command: words("The program and its arguments; no shell."),
  dir: key(text(), "", "The folder in which it runs.", { shown: "the gateway's" }),
  env: entries(environment(), "Its variables."),
  observe: words("Has no effect here."),
  intercept: words("What it is asked about: `before_tool after_tool approve_tool`."),
});

export const HOOKS = apart({
  enabled: key(bool(), true, "Whether hooks are asked."),
  defaults: group({
    observer_timeout_ms: timeLimit(500, "Has no effect here."),
    interceptor_timeout_ms: timeLimit(
      5000,
      "Milliseconds of a hook for `before_tool` and `after_tool`.",
    ),
    approval_timeout_ms: timeLimit(60_000, "Milliseconds of a hook for `approve_tool`."),
  }),
  builtins: entries(anyObject(), "Hooks of the Go program, which are not built here."),
  processes: named(PROCESS_HOOK),
});

function isUrl(written: string): boolean {
  return written === "" || /^https?:$/.test(URL.parse(written)?.protocol ?? "");
}

function isPath(written: string): boolean {
  return written.trim() !== "" && !written.includes("\0");
}

function isWord(written: string): boolean {
  return !written.includes("\0");
}

/** Variables of a program, with their texts. */
function environment(): Read<Readonly<Record<string, unknown>>> {
  const readObject = anyObject();
  return described(readObject.schema ?? {}, (found, path, report) => {
    const variables = readObject(found, path, report);
    const isRight = Object.entries(variables ?? {}).every(
      ([name, value]) => /^[^=\0]+$/.test(name) && typeof value === "string" && isWord(value),
    );
    if (isRight) return variables;
    report(path, "allowed are texts");
    return undefined;
  });
}

/** As Go writes it, with flags in front and `(?P<name>`, in the words of this language. */
function readPattern({ value }: Leaf): string | undefined {
  if (typeof value !== "string") return undefined;
  const written = value
    .replaceAll("(?P<", "(?<")
    .replace(/^\(\?([ims]+)\)(.*)$/s, (_, flags: string, rest: string) => `(?${flags}:${rest})`);
  try {
    void new RegExp(written);
    return written;
  } catch {
    return undefined;
  }
}
