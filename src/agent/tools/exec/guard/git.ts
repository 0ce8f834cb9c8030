import type { Field } from "./field.ts";

const RUNS = "it runs another program by an option";
/** Settings of git that name programs. */
const RUNNING =
  /pager|editor|sshcommand|fsmonitor|hookspath|askpass|gitproxy|external|textconv|\.command|\.cmd|^alias\.|helper|\.program|browser|smudge|clean|\.process|driver|uploadpack|receivepack|proxy|insteadof|include|protocol\.|templatedir/i;
const GIT_RULES: Readonly<Record<string, RegExp>> = {
  grep: /^-O|^--open/,
  rebase: /^-[a-z]*x|^--exec/,
  bisect: /^run$/,
  submodule: /^foreach$/,
  difftool: /^-x|^--ext/,
  mergetool: /^-x|^--ext/,
  config: RUNNING,
  archive: /^--exec/,
  clone: /^-u|^--upload|^-[a-z]*c|^--config|^ext::/,
  fetch: /^--upload|^ext::/,
  pull: /^--upload|^ext::/,
  "ls-remote": /^--upload|^ext::/,
  remote: /ext::/,
};

/** Why git must not run with these arguments. */
export function refusalOfGit(args: readonly Field[]): string | undefined {
  const at = commandAt(args);
  const options = args.slice(0, at);
  if (options.some(({ text }, index) => setsProgram(text, args[index + 1]?.text ?? "")))
    return RUNS;
  const command = args[at]?.text ?? "";
  const others = args.slice(at + 1);
  if (command === "push") return "it changes what others have";
  if (others.some(({ text }) => text.startsWith("--force"))) return "it overwrites by force";
  if (command === "filter-branch" || command === "send-email") return RUNS;
  const argument = Object.hasOwn(GIT_RULES, command) ? GIT_RULES[command] : undefined;
  return argument !== undefined && others.some(({ text }) => argument.test(text))
    ? RUNS
    : undefined;
}

/** After the options that come before git's own command. */
function commandAt(args: readonly Field[]): number {
  let at = 0;
  while (args[at]?.text.startsWith("-") === true) {
    const text = args[at]?.text ?? "";
    at += /^(?:-c|-C|--config-env|--git-dir|--work-tree|--namespace)$/.test(text) ? 2 : 1;
  }
  return Math.min(at, args.length);
}

function setsProgram(option: string, value: string): boolean {
  if (/^-c.|^--(?:config-env|exec-path)=/.test(option)) return true;
  return /^(?:-c|--config-env)$/.test(option) && RUNNING.test(value);
}
