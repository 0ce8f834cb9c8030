import { at } from "../../base/unknown.ts";
import type { JsonSchema } from "../model/contract.ts";
import type { Tool } from "./contract.ts";

interface ShortForm {
  /** Absent: the tool's own, which may name paths. */
  readonly description?: string;
  /** The arguments that are left, with their descriptions; "" for none. */
  readonly arguments: Readonly<Record<string, string>>;
}

/**
 * The tools for a small window. Arguments that are left out have their defaults, and the tools still take
 * them.
 */
const SHORT_FORMS: Readonly<Record<string, ShortForm>> = {
  device: { description: "Measures this device.", arguments: { facts: "" } },
  memory: {
    description: "Keeps facts for later conversations, never secrets.",
    arguments: { action: "", text: "One line; for forget: words of it." },
  },
  use_skill: { description: "Reads a skill.", arguments: { name: "" } },
  mqtt: {
    description: "Reads MQTT topics (with + and #), or publishes.",
    arguments: { action: "", topic: "", payload: "" },
  },
  devices: {
    description: "Finds lamps, sensors and other devices of the home, with their states.",
    arguments: { action: "", search: "Words of the name, room or kind." },
  },
  set_device: {
    description: "Sets a device of the home, and tells what it reports.",
    arguments: {
      name: "",
      state: "on, off, open, close, lock …",
      brightness: "Percent.",
      position: "Percent.",
      temperature: "",
      value: "",
    },
  },
  exec: { description: "Runs a shell command in the workspace.", arguments: { command: "" } },
  read_file: { arguments: { path: "", offset: "", start_line: "" } },
  write_file: { arguments: { path: "", content: "", overwrite: "" } },
  list_dir: { arguments: { path: "" } },
};

/** Characters of a result: about a quarter of a window of 4,096 tokens. */
const MAX_RESULT = 4_000;

const made = new WeakMap<Tool, Tool>();

/**
 * The tools for a small window, with short results. If the owner chose tools in AGENT.md, all of them stay;
 * those that have a short form get it.
 */
export function shortTools(
  tools: readonly Tool[],
  chosen: readonly string[] | undefined,
): readonly Tool[] {
  const wanted =
    chosen === undefined ? tools.filter(({ name }) => Object.hasOwn(SHORT_FORMS, name)) : tools;
  return wanted.map((tool) => {
    const short = made.get(tool) ?? shortened(tool);
    made.set(tool, short);
    return short;
  });
}

function shortened(tool: Tool): Tool {
  const characters = Math.min(tool.characters ?? MAX_RESULT, MAX_RESULT);
  if (!Object.hasOwn(SHORT_FORMS, tool.name)) return { ...tool, characters };
  const { description = tool.description, arguments: words = {} } = SHORT_FORMS[tool.name] ?? {};
  return { ...tool, characters, description, parameters: shortSchema(tool.parameters, words) };
}

function shortSchema(parameters: JsonSchema, words: ShortForm["arguments"]): JsonSchema {
  const properties = Object.entries(words).flatMap(([name, description]) => {
    const full = at(at(parameters, "properties"), name);
    if (full === undefined) return [];
    const facts = ["type", "enum", "items"].map((key): [string, unknown] => [key, at(full, key)]);
    const known = facts.filter(([, value]) => value !== undefined);
    return [
      [
        name,
        Object.fromEntries([...known, ...(description ? [["description", description]] : [])]),
      ],
    ];
  });
  return { ...parameters, properties: Object.fromEntries(properties) };
}
