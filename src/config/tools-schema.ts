import * as v from "valibot";
import type { ToolProfile, ToolSettings, WebSettings } from "./contract.ts";
import type { Leaf } from "./tree.ts";
import {
  address,
  choice,
  field,
  flag,
  integer,
  oneOrMore,
  or,
  orEmpty,
  secret,
  section,
  text,
  texts,
} from "./values.ts";

const GIB = 2 ** 30;

/** Tools that have nothing but a switch, as Go PicoClaw names them. */
export const SWITCHED = [
  "append_file",
  "device",
  "edit_file",
  "list_dir",
  "memory",
  "mqtt",
  "skills",
  "spawn",
  "spawn_status",
  "subagent",
  "web_fetch",
  "write_file",
] as const;

/** What lists of tools can name, as models know them; `skills` is what the settings call `use_skill`. */
export const TOOL_NAMES: readonly string[] = [
  ...SWITCHED.filter((name) => name !== "skills"),
  "exec",
  "read_file",
  "use_skill",
  "web_search",
];

const PROVIDERS: ReadonlyMap<string, WebSettings["provider"]> = new Map([
  ["", "auto"],
  ["auto", "auto"],
  ["searxng", "searxng"],
  ["brave", "brave"],
  ["tavily", "tavily"],
  ["duckduckgo", "duckduckgo"],
  // Searches of Go PicoClaw that this program lacks: the first that can be asked takes their place.
  ...["sogou", "kagi", "perplexity", "gemini", "glm_search", "baidu_search"].map(
    (name): [string, "auto"] => [name, "auto"],
  ),
]);

const FORMATS: ReadonlyMap<string, WebSettings["format"]> = new Map([
  ["", "plaintext"],
  ["plaintext", "plaintext"],
  ["text", "plaintext"],
  ["markdown", "markdown"],
]);

const MODES: ReadonlyMap<string, ToolSettings["read_file"]["mode"]> = new Map([
  ["", "bytes"],
  ["bytes", "bytes"],
  ["lines", "lines"],
]);

const SANDBOXES: ReadonlyMap<string, ToolSettings["exec"]["sandbox"]> = new Map([
  ["", "auto"],
  ["auto", "auto"],
  ["bwrap", "bwrap"],
  ["none", "none"],
]);

const search = { enabled: or(flag(), false), max_results: or(integer(0, 100), 5) };
const keyed = { ...search, api_keys: v.optional(oneOrMore(secret()), () => []) };
const pattern = () => oneOrMore(field("a regular expression", readPattern));

/** `tools.web`. */
export const WEB = {
  enabled: or(flag(), true),
  provider: or(choice("auto, searxng, brave, tavily or duckduckgo", PROVIDERS), "auto"),
  searxng: orEmpty(
    section({ ...search, base_url: or(address("an http or https URL", isUrl), "") }),
  ),
  brave: orEmpty(section(keyed)),
  tavily: orEmpty(section({ ...keyed, base_url: or(address("an http or https URL", isUrl), "") })),
  duckduckgo: orEmpty(section(search)),
  proxy: or(text(), ""),
  fetch_limit_bytes: or(integer(0, GIB), 10_485_760),
  format: or(choice("plaintext or markdown", FORMATS), "plaintext"),
  private_host_whitelist: v.optional(texts(), () => []),
};

/** `tools.exec`. */
export const EXEC = {
  enabled: or(flag(), true),
  enable_deny_patterns: or(flag(), true),
  allow_remote: v.exactOptional(flag()),
  custom_deny_patterns: v.optional(pattern(), () => []),
  custom_allow_patterns: v.optional(pattern(), () => []),
  timeout_seconds: or(integer(0, 86_400), 60),
  sandbox: or(choice("auto, bwrap or none", SANDBOXES), "auto"),
  allow_network: or(flag(), false),
};

/** `tools.read_file`. */
export const READ_FILE = {
  enabled: or(flag(), true),
  mode: or(choice("bytes or lines", MODES), "bytes"),
  max_read_file_size: or(integer(0, GIB), 65_536),
};

const SWITCH = orEmpty(section({ enabled: or(flag(), true) }));

/** `tools`. */
export const TOOLS = {
  allow_read_paths: v.optional(pattern(), () => []),
  allow_write_paths: v.optional(pattern(), () => []),
  filter_sensitive_data: or(flag(), true),
  filter_min_length: or(integer(0, GIB), 8),
  exec: orEmpty(section(EXEC)),
  read_file: orEmpty(section(READ_FILE)),
  web: orEmpty(section(WEB)),
  append_file: SWITCH,
  device: SWITCH,
  edit_file: SWITCH,
  list_dir: SWITCH,
  memory: SWITCH,
  mqtt: SWITCH,
  skills: SWITCH,
  spawn: SWITCH,
  spawn_status: SWITCH,
  subagent: SWITCH,
  web_fetch: SWITCH,
  write_file: SWITCH,
};

const SECTION = section(TOOLS);

/** What the tools need to know. */
export function toolSettings(
  tools: v.InferOutput<typeof SECTION>,
  profiles: readonly ToolProfile[],
): ToolSettings {
  const { allow_read_paths, allow_write_paths, filter_sensitive_data, filter_min_length } = tools;
  const { enabled: runs, ...exec } = tools.exec;
  const { enabled: reads, ...read_file } = tools.read_file;
  const { enabled: searches, ...web } = tools.web;
  const off = new Set<string>(SWITCHED.filter((name) => !tools[name].enabled));
  if (!runs) off.add("exec");
  if (!reads) off.add("read_file");
  if (!searches) off.add("web_search");
  return {
    off,
    allow_read_paths,
    allow_write_paths,
    filter_sensitive_data,
    filter_min_length,
    profiles,
    exec,
    read_file,
    web,
  };
}

function isUrl(written: string): boolean {
  return written === "" || /^https?:$/.test(URL.parse(written)?.protocol ?? "");
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
