import * as v from "valibot";
import { flagField, oldField } from "../define.ts";

/** Characters of a command and of a piece of input: the policy checks all of it. */
const MAX_TEXT = 10_000;

const textArgument = (about: string) =>
  v.optional(v.pipe(v.string(), v.maxLength(MAX_TEXT, "too long"), v.description(about)));

/** The arguments of exec. */
export const EXEC_INPUT = v.object({
  action: v.optional(
    v.pipe(
      v.picklist(["run", "list", "poll", "read", "write", "kill", "send-keys"]),
      v.description(
        "run: start command. For commands in the background: list: show all; poll: state; read: new output; write: send data; send-keys: send keys; kill: end.",
      ),
    ),
    "run",
  ),
  command: textArgument("For run."),
  session_id: textArgument("The background command."),
  sessionId: oldField(v.string()),
  keys: textArgument("For send-keys: names such as Up Enter C-c F1."),
  data: textArgument("For write; a line break at the end sends the line."),
  background: v.optional(flagField("For run: return a session_id at once.")),
  pty: v.optional(flagField("For run: give it a terminal.")),
  cwd: textArgument("For run: its folder; default: the workspace."),
  timeout: v.optional(
    v.pipe(v.number(), v.minValue(0), v.description("For run: seconds until it is stopped.")),
  ),
});

export type ExecInput = v.InferOutput<typeof EXEC_INPUT>;

/** What a terminal sends for a key, by the lower-cased name of the key. */
const KEYS: ReadonlyMap<string, string> = new Map([
  ["enter", "\r"],
  ["return", "\r"],
  ["tab", "\t"],
  ["btab", "\u001b[Z"],
  ["escape", "\u001b"],
  ["esc", "\u001b"],
  ["space", " "],
  ["backspace", "\u007f"],
  ["bspace", "\u007f"],
  ["up", "\u001b[A"],
  ["down", "\u001b[B"],
  ["right", "\u001b[C"],
  ["left", "\u001b[D"],
  ["home", "\u001b[H"],
  ["end", "\u001b[F"],
  ["insert", "\u001b[2~"],
  ["delete", "\u001b[3~"],
  ["pageup", "\u001b[5~"],
  ["pagedown", "\u001b[6~"],
  ...["OP", "OQ", "OR", "OS"].map((end, index): [string, string] => [
    `f${index + 1}`,
    `\u001b${end}`,
  ]),
]);

interface Keys {
  readonly text: string;
  /** Names that are no keys. */
  readonly unknown: readonly string[];
}

/** The text of keys that are separated by blanks or commas: `Up Up Enter`, `ctrl-c`, `C-c`, `^C`. */
export function keysOf(names: string): Keys {
  const wanted = names.split(/[\s,]+/).filter((name) => name !== "");
  const sent = wanted.map((name) => ({ name, text: keyOf(name) }));
  return {
    text: sent.map(({ text }) => text ?? "").join(""),
    unknown: sent.filter(({ text }) => text === undefined).map(({ name }) => name),
  };
}

function keyOf(name: string): string | undefined {
  const text = KEYS.get(name.toLowerCase().replace(/[-_]/g, "")) ?? KEYS.get(name.toLowerCase());
  if (text !== undefined) return text;
  const control = /^(?:c-|ctrl[-+]|control[-+]|\^)([a-z[\\\]^_@])$/i.exec(name)?.[1];
  // The letter without its two upper bits (ASCII).
  return control === undefined
    ? undefined
    : String.fromCharCode(control.toUpperCase().charCodeAt(0) & 0x1f);
}
