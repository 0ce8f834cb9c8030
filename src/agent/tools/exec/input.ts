import * as v from "valibot";

/** Characters of a command, and of a piece of input: the guard looks at all of it. */
const MAX_TEXT = 10_000;

const textField = (about: string) =>
  v.nullish(v.pipe(v.string(), v.maxLength(MAX_TEXT, "too long"), v.description(about)));
const flagField = (about: string) => v.nullish(v.pipe(v.boolean(), v.description(about)));

/** The arguments of exec. */
export const EXEC_INPUT = v.object({
  action: v.nullish(
    v.pipe(
      v.picklist(["run", "list", "poll", "read", "write", "kill", "send-keys"]),
      v.description(
        "run (where left out): runs command. The others are about commands in the background: list them; poll: how one is; read: what it wrote since it was last read; write: data to its input; send-keys: keys to its input; kill it.",
      ),
    ),
  ),
  command: textField("For run: the shell command."),
  sessionId: textField("For poll, read, write, send-keys and kill: which command."),
  keys: textField("For send-keys: names with blanks between, such as Up Enter C-c Tab Escape F1."),
  data: textField("For write: the text as it is; end it with a line break to send the line."),
  background: flagField("For run: whether to give back a sessionId at once, and let it run on."),
  pty: flagField("For run: whether the command gets a terminal."),
  cwd: textField("For run: the folder to run in; the workspace where left out."),
  timeout: v.nullish(
    v.pipe(v.number(), v.minValue(0), v.description("For run: the most seconds it may take.")),
  ),
});

export type ExecInput = v.InferOutput<typeof EXEC_INPUT>;

/** Keys by their lower-cased names, as a terminal sends them. */
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
  /** The names that nobody knows. */
  readonly unknown: readonly string[];
}

/** What keys send that are named with blanks or commas between: `Up Up Enter`, `ctrl-c`, `C-c`, `^C`. */
export function keysOf(names: string): Keys {
  const wanted = names.split(/[\s,]+/).filter((name) => name !== "");
  const sent = wanted.map((name) => ({ name, text: keyOf(name) }));
  return {
    text: sent.map(({ text }) => text ?? "").join(""),
    unknown: sent.filter(({ text }) => text === undefined).map(({ name }) => name),
  };
}

function keyOf(name: string): string | undefined {
  const known = KEYS.get(name.toLowerCase().replace(/[-_]/g, "")) ?? KEYS.get(name.toLowerCase());
  if (known !== undefined) return known;
  const control = /^(?:c-|ctrl[-+]|control[-+]|\^)([a-z[\\\]^_@])$/i.exec(name)?.[1];
  // The letter without its two upper bits (ASCII).
  return control === undefined
    ? undefined
    : String.fromCharCode(control.toUpperCase().charCodeAt(0) & 0x1f);
}
