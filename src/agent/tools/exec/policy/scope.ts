import type { SyntaxNode } from "unbash";
import { valuesOf } from "./field.ts";
import type { Expander, Values } from "./field.ts";
import { settingsIn } from "./settings.ts";
import type { Setting } from "./settings.ts";

/** What is known of variables in a command. */
export interface Scope {
  values(name: string, at: object, expander: Expander): Values;
}

const NUMBERS = new Set(
  "? # $ ! RANDOM SRANDOM SECONDS LINENO EPOCHSECONDS PPID UID EUID OPTIND SHLVL BASHPID".split(
    " ",
  ),
);
const NAMES = new Set(
  "USER LOGNAME LANG LANGUAGE TERM TZ HOSTNAME HOSTTYPE MACHTYPE OSTYPE".split(" "),
);
/** Variables that are there without having been set, and may hold anything. */
const PRESENT =
  /^(?:0|-|_|HOME|OLDPWD|PATH|SHELL|TMPDIR|COMMAND_ID|LC_\w+|BASH\w*|COMP_\w+|DIRSTACK|FUNCNAME|GROUPS|OPTARG|REPLY|PIPESTATUS|PS[0-4]|SHELLOPTS|HIST\w+|COPROC|MAPFILE)$/;

/**
 * What the variables of a parsed command may hold. Commands get a short list of variables from outside,
 * so that what is not set is nothing; in a shell that another one starts it may be anything.
 */
export function scopeOf(root: SyntaxNode, cwd: string, isInner: boolean): Scope {
  const settings = settingsIn(root);
  const hasArguments = isInner || settings.hasArguments;
  const open = new Set<string>();
  const known = new Map<string, Values>();
  const computed = (name: string, isSure: boolean, expander: Expander): Values => {
    if (open.has(name)) return "anything";
    open.add(name);
    const values = (settings.of.get(name) ?? []).map((one) => settingValues(one, expander));
    open.delete(name);
    const unset: Values = isInner ? "anything" : [""];
    return together(isSure ? values : [unset, ...values]);
  };
  return {
    values(name, at, expander) {
      const fixed = fixedValues(name, cwd, hasArguments);
      if (fixed !== undefined) return fixed;
      const number = settings.numbers.get(at) ?? -1;
      const isSure = (settings.of.get(name) ?? []).some(
        ({ from, within }) => within !== undefined && from < number && number <= within.end,
      );
      const key = `${name} ${isSure}`;
      const values = known.get(key) ?? computed(name, isSure, expander);
      known.set(key, values);
      return values;
    },
  };
}

/** Of variables that the shell sets itself, or gets from outside. */
function fixedValues(name: string, cwd: string, hasArguments: boolean): Values | undefined {
  if (name === "PWD") return [cwd];
  if (name === "IFS") return [" "];
  if (NUMBERS.has(name)) return ["0"];
  if (NAMES.has(name)) return "name";
  // `$0` is the shell itself, or whatever it was started as.
  if (/^(?:[1-9]\d*|[@*])$/.test(name)) return hasArguments ? "anything" : [""];
  return PRESENT.test(name) ? "anything" : undefined;
}

function settingValues({ values }: Setting, expander: Expander): Values {
  if (typeof values === "string") return values;
  return together(values.map((word) => valuesOf(word, expander)));
}

function together(all: readonly Values[]): Values {
  if (all.includes("anything")) return "anything";
  if (all.includes("name")) return all.some((one) => one[0] === "") ? "anything" : "name";
  return [...new Set(all.flat())];
}
