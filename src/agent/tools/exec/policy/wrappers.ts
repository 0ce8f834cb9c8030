import type { Field } from "./field.ts";

/** A program that runs another which is its argument. */
interface Wrapper {
  /** Options that take the next word along. */
  readonly valued?: string;
  /** Words of its own before the program. */
  readonly own?: number;
  /** It hands the rest to a shell, as one text. */
  readonly isShell?: boolean;
}

const WRAPPERS: Readonly<Record<string, Wrapper>> = {
  timeout: { valued: "-s --signal -k --kill-after", own: 1 },
  nice: { valued: "-n --adjustment" },
  nohup: {},
  setsid: {},
  stdbuf: { valued: "-i -o -e --input --output --error" },
  ionice: { valued: "-c -n -p -P -u" },
  chrt: { own: 1 },
  taskset: { own: 1 },
  time: { valued: "-f -o --format --output" },
  command: {},
  builtin: {},
  exec: { valued: "-a" },
  env: { valued: "-u -C --unset --chdir" },
  busybox: {},
  toybox: {},
  unbuffer: {},
  strace: { valued: "-e -o -p -s -E -u -P" },
  ltrace: { valued: "-e -o -p -s -u" },
  flock: { valued: "-w -E --timeout", own: 1 },
  faketime: { own: 1 },
  torsocks: {},
  proxychains: { valued: "-f" },
  proxychains4: { valued: "-f" },
  rlwrap: {},
  chronic: {},
  "xvfb-run": { valued: "-s -n -e" },
  "dbus-run-session": {},
  "systemd-inhibit": {},
  prlimit: {},
  numactl: {},
  setarch: {},
  linux32: {},
  linux64: {},
  choom: { valued: "-n --adjust -p --pid" },
  cpulimit: { valued: "-l --limit -e -P -p" },
  valgrind: {},
  fakeroot: {},
  eatmydata: {},
  catchsegv: {},
  "systemd-cat": { valued: "-t -p --identifier --priority" },
  ifne: {},
  lckdo: { own: 1 },
  xargs: { valued: "-I -n -P -L -d -E -a -s --max-args --max-procs --delimiter --arg-file" },
  entr: {},
  watch: { valued: "-n --interval", isShell: true },
  parallel: { valued: "-j --jobs -a --arg-file -S", isShell: true },
  sem: { valued: "-j --jobs", isShell: true },
  hyperfine: { valued: "-w -r --warmup --runs", isShell: true },
};

/** What a call runs beside itself. */
export interface Inner {
  /** Another program and its arguments. */
  readonly calls: readonly (readonly Field[])[];
  /** Texts for a shell. */
  readonly scripts: readonly Field[];
  /** Words like `A=1` before a program. */
  readonly assignments: readonly Field[];
  /** What it runs comes from its input or cannot be known. */
  readonly isUnknown: boolean;
}

const NOTHING: Inner = { calls: [], scripts: [], assignments: [], isUnknown: false };

/** Programs that name what they run in ways of their own. */
const OTHERS: Readonly<Record<string, (args: readonly Field[]) => Inner>> = {
  find: (args) => ({ ...NOTHING, calls: foundCalls(args) }),
  fd: (args) => callAfter(args, /^(?:-[xX]|--exec(?:-batch)?)$/),
  fdfind: (args) => callAfter(args, /^(?:-[xX]|--exec(?:-batch)?)$/),
  uv: (args) => callAfter(args, /^run$/),
  poetry: (args) => callAfter(args, /^run$/),
  pipenv: (args) => callAfter(args, /^run$/),
  bundle: (args) => callAfter(args, /^exec$/),
  trap: trapped,
  script: (args) => scriptAfter(args, /^-[a-z]*c$|^--command$/),
};

/** What a program runs that is among its arguments; undefined where it runs nothing but itself. */
export function innerOf(name: string, args: readonly Field[]): Inner | undefined {
  const other = Object.hasOwn(OTHERS, name) ? OTHERS[name] : undefined;
  if (other !== undefined) return other(args);
  if (name === "flock" && args.some(({ text }) => text === "-c")) return scriptAfter(args, /^-c$/);
  if (name === "command" && args.some(({ text }) => /^-[vV]/.test(text))) return NOTHING;
  if (/^ld[-.]/.test(name)) return wrapped(name, args, {});
  const wrapper = Object.hasOwn(WRAPPERS, name) ? WRAPPERS[name] : undefined;
  return wrapper === undefined ? undefined : wrapped(name, args, wrapper);
}

function wrapped(name: string, args: readonly Field[], wrapper: Wrapper): Inner {
  const at = afterOptions(name, args, wrapper);
  const options = args.slice(0, at);
  const rest = args.slice(at + (wrapper.own ?? 0));
  const isUnknown = options.some(({ isKnown }) => !isKnown);
  if (wrapper.isShell !== true) {
    const isEnv = name === "env";
    const assignments = isEnv ? options.filter(({ text }) => ASSIGNMENT.test(text)) : [];
    return { assignments, scripts: isEnv ? splitTexts(args) : [], calls: [rest], isUnknown };
  }
  const [first] = rest;
  // Without words it runs what it reads.
  if (first === undefined) return { ...NOTHING, isUnknown: true };
  const text = rest.map((field) => field.text).join(" ");
  const isKnown = rest.every((field) => field.isKnown);
  return { ...NOTHING, scripts: [{ ...first, text, isKnown }], isUnknown };
}

const ASSIGNMENT = /^[A-Za-z_]\w*=/;
const SPLIT_TEXT = /^(?:-[a-zA-Z]*S|--s[a-z-]*)=?/;

/** Where the options of a wrapper end, and its assignments. */
function afterOptions(name: string, args: readonly Field[], { valued = "" }: Wrapper): number {
  const taking = new Set(valued.split(" "));
  let at = 0;
  for (; at < args.length; at += 1) {
    const text = args[at]?.text ?? "";
    if (text === "--") return at + 1;
    const isOption = text.startsWith("-") || (name === "env" && ASSIGNMENT.test(text));
    if (!isOption) break;
    if (taking.has(text)) at += 1;
  }
  return Math.min(at, args.length);
}

/** What `env -S` takes apart. */
function splitTexts(args: readonly Field[]): readonly Field[] {
  return args.flatMap((field, index) => {
    if (!SPLIT_TEXT.test(field.text)) return [];
    const text = field.text.replace(SPLIT_TEXT, "");
    const next = args[index + 1];
    if (text !== "") return [{ ...field, text }];
    return next === undefined ? [] : [next];
  });
}

function foundCalls(args: readonly Field[]): readonly (readonly Field[])[] {
  const calls: Field[][] = [];
  let current: Field[] | undefined;
  for (const field of args) {
    if (current !== undefined && /^[;+]$/.test(field.text)) current = undefined;
    else if (current !== undefined) current.push(field);
    else if (/^-(?:exec|ok)(?:dir)?$/.test(field.text)) calls.push((current = []));
  }
  return calls;
}

function callAfter(args: readonly Field[], option: RegExp): Inner {
  const at = args.findIndex(({ text }) => option.test(text));
  return at < 0 ? NOTHING : { ...NOTHING, calls: [args.slice(at + 1)] };
}

function trapped(args: readonly Field[]): Inner {
  const code = args.find(({ text }) => !/^-[lp]?$|^--$/.test(text));
  return code === undefined ? NOTHING : { ...NOTHING, scripts: [code] };
}

function scriptAfter(args: readonly Field[], option: RegExp): Inner {
  const at = args.findIndex(({ text }) => option.test(text));
  const code = at < 0 ? undefined : args[at + 1];
  if (code !== undefined) return { ...NOTHING, scripts: [code] };
  // Glued to its option it is not looked for.
  return { ...NOTHING, isUnknown: args.some(({ text }) => /^(?:-[a-z]*c.|--command=)/.test(text)) };
}
