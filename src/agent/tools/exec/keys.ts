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

export interface Keys {
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
