import type { Field } from "./field.ts";

/** The words of a call that name neither files nor programs: what to look for, what to say. */
export function dataOf(name: string, args: readonly Field[]): ReadonlySet<Field> {
  if (/^(?:[ef]?grep|rg|ag)$/.test(name)) return new Set(patternOf(args));
  switch (name) {
    case "jq":
    case "yq":
      return new Set(filterOf(args));
    case "git":
    case "hg":
      return new Set(messagesOf(args));
    case "find":
      return new Set(following(args, /^-i?(?:name|path|wholename|regex)$/));
    case "date":
      return new Set(args.filter(({ text }) => text.startsWith("+")));
    // It tells of the disk below a folder, and of nothing in it.
    case "df":
      return new Set(args.filter(({ text }) => /^(?:\/[\w-]+)*\/?$/.test(text)));
    default:
      return new Set();
  }
}

/** Where an option names the pattern, the first word may be a file. */
function patternOf(args: readonly Field[]): readonly Field[] {
  if (args.some(({ text }) => /^-[a-zA-Z]*[ef]|^--(?:regexp|file|fi|re)/.test(text))) {
    return following(args, /^-e$/);
  }
  return args.filter(({ text }) => !text.startsWith("-")).slice(0, 1);
}

/** A filter may come from a file, too, and name files. */
function filterOf(args: readonly Field[]): readonly Field[] {
  if (args.some(({ text }) => /^-[a-zA-Z]*[fL]|^--(?:from|slurp|raw)/.test(text))) return [];
  const filters = args.filter(({ text }) => !text.startsWith("-")).slice(0, 1);
  return filters.filter(({ text }) => !/\b(?:import|include|load\w*)\b/.test(text));
}

function messagesOf(args: readonly Field[]): readonly Field[] {
  const inOne = args.filter(({ text }) =>
    /^--(?:message|grep|author|format|pretty|date)=/.test(text),
  );
  return [...following(args, /^(?:-[a-zA-Z]*m|--message|--grep|--author)$/), ...inOne];
}

function following(args: readonly Field[], option: RegExp): readonly Field[] {
  return args.filter((_, index) => option.test(args[index - 1]?.text ?? ""));
}
