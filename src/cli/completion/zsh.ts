import { type Command, COMMANDS, GLOBAL_FLAGS, namesOf } from "../args/commands.ts";
import { candidatesOf, shownFlags } from "../args/commands.ts";
import { flagNamed, type FlagName } from "../args/flags.ts";

/** A completion function for zsh: evaluate it after `compinit`, or put it on the fpath as `_picoclaw`. */
export function zshCompletion(): string {
  return `#compdef picoclaw
# Completion of picoclaw for zsh: eval "$(picoclaw completion zsh)"
_picoclaw() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -C \\
${specsOf([...GLOBAL_FLAGS, "version"])} \\
    '1: :->command' \\
    '*:: :->arguments'
  case $state in
    command)
      local -a commands
      commands=(
${COMMANDS.map(({ name, summary }) => `        ${quote(`${name}:${summary}`)}`).join("\n")}
      )
      _describe -t commands command commands ;;
    arguments)
      case $line[1] in
${COMMANDS.map(commandCase).join("\n")}
      esac ;;
  esac
}
if [[ $funcstack[1] == _picoclaw ]]; then _picoclaw "$@"; else compdef _picoclaw picoclaw; fi
`;
}

function commandCase(command: Command): string {
  const names = namesOf(command).join("|");
  const candidates = candidatesOf(command);
  const positionals = command.arguments.map(({ name, rest }, index) => {
    const action = candidates.length > 0 ? `(${candidates.join(" ")})` : " ";
    return `    ${quote(`${rest ? "*" : index + 1}:${name}:${action}`)}`;
  });
  const specs = [specsOf(shownFlags(command)), ...positionals].join(" \\\n");
  return `        ${names}) _arguments \\\n${specs} ;;`;
}

function specsOf(names: readonly FlagName[]): string {
  return names.map((name) => `    ${specOf(name)}`).join(" \\\n");
}

/** `'(-t --timeout)'{-t+,--timeout=}'[what it is]:TIME: '` */
function specOf(name: FlagName): string {
  const flag = flagNamed(name);
  const takesValue = flag.type !== "boolean";
  const tail = `[${escapeSummary(flag.summary)}]${takesValue ? `:${flag.value}:${actionOf(name)}` : ""}`;
  const long = `--${name}${takesValue ? "=" : ""}`;
  if (flag.letter === undefined) return quote(`${long}${tail}`);
  const short = `-${flag.letter}${takesValue ? "+" : ""}`;
  return `${quote(`(-${flag.letter} --${name})`)}{${short},${long}}${quote(tail)}`;
}

function actionOf(name: FlagName): string {
  const { type, choices } = flagNamed(name);
  if (choices !== undefined) return `(${choices.join(" ")})`;
  return type === "file" ? "_files" : " ";
}

function escapeSummary(text: string): string {
  return text.replaceAll(/[\\[\]:]/g, "\\$&");
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
