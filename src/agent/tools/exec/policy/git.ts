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
  archive: /^--exec|ext::/,
  clone: /^-u|^--upload|^-[a-z]*c|^--config|^--template/,
  init: /^--template/,
  fetch: /^--upload/,
  pull: /^--upload/,
  "ls-remote": /^--upload/,
  "fetch-pack": /^--(?:exec|upload)/,
  diff: /^--ext-/,
  help: /^-w|^--web/,
};
/** Commands of git that run others, or serve them. */
const RUNNERS = new Set(
  "filter-branch send-email svn daemon web--browse instaweb remote-ext remote-fd".split(" "),
);

/** Why git must not run with these arguments. */
export function refusalOfGit(args: readonly Field[]): string | undefined {
  const at = commandAt(args);
  const options = args.slice(0, at);
  if (options.some(({ text }, index) => setsProgram(text, args[index + 1]?.text ?? "")))
    return RUNS;
  const command = args[at]?.text ?? "";
  const others = args.slice(at + 1);
  if (/^(?:push|send-pack)$/.test(command)) return "it changes what others have";
  const force = command === "clean" ? /^-(?!-)[a-z]*f|^--f/ : /^--forc/;
  if (others.some(({ text }) => force.test(text))) return "it overwrites or deletes by force";
  if (RUNNERS.has(command) || others.some(({ text }) => text.startsWith("ext::"))) return RUNS;
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
