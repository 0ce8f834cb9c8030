import type { Command } from "../args/command.ts";
import { candidatesOf, COMMANDS, GLOBAL_FLAGS, namesOf, shownFlags } from "../args/commands.ts";
import { type FlagName, flagNamed, flagNames } from "../args/flags.ts";
import type { Context } from "../context.ts";
import { shellQuoted } from "../shell-word.ts";

/** `picoclaw completion bash|zsh|fish`. */
export async function run({ host, words }: Context): Promise<number> {
  await host.stdout.write(scriptFor(words[0]));
  return 0;
}

function scriptFor(shell: string | undefined): string {
  if (shell === "zsh") return zshCompletion();
  return shell === "fish" ? fishCompletion() : bashCompletion();
}

/** A completion function for bash 3.2 and later; it does not need bash-completion. */
export function bashCompletion(): string {
  return `# Completion of picoclaw for bash: eval "$(picoclaw completion bash)"
_picoclaw() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command= index
  COMPREPLY=()
  # bash splits --flag=value into three words.
  if [[ $current == = ]]; then current=; elif [[ $previous == = ]]; then previous=\${COMP_WORDS[COMP_CWORD-2]}; fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    case \${COMP_WORDS[index]} in
      --) return ;;
${COMMANDS.map((command) => `      ${namesOf(command).join("|")}) [[ $command ]] || command=${command.name} ;;`).join("\n")}
    esac
  done
  case $previous in
${bashValueCases().join("\n")}
  esac
  local words= flags='${bashFlags([...GLOBAL_FLAGS, "version"])}'
  case $command in
    '') words='${COMMANDS.map(({ name }) => name).join(" ")}' ;;
${COMMANDS.map(bashCase).join("\n")}
  esac
  [[ $current == -* ]] && words=$flags
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _picoclaw picoclaw
`;
}

function bashValueCases(): string[] {
  const valued = flagNames().filter((name) => flagNamed(name).type !== "boolean");
  const files = valued.filter((name) => flagNamed(name).type === "file");
  const choices = valued.filter((name) => flagNamed(name).choices !== undefined);
  const others = valued.filter((name) => !files.includes(name) && !choices.includes(name));
  return [
    ...choices.map((name) => {
      const words = flagNamed(name).choices?.join(" ") ?? "";
      return `    ${bashSpelling(name)}) COMPREPLY=($(compgen -W '${words}' -- "$current")); return ;;`;
    }),
    `    ${files.map(bashSpelling).join("|")}) compopt -o default 2>/dev/null; return ;;`,
    `    ${others.map(bashSpelling).join("|")}) return ;;`,
  ];
}

function bashSpelling(name: FlagName): string {
  const { letter } = flagNamed(name);
  return letter === undefined ? `--${name}` : `--${name}|-${letter}`;
}

function bashCase(command: Command): string {
  const words = candidatesOf(command).join(" ");
  return `    ${command.name}) words='${words}' flags='${bashFlags(shownFlags(command))}' ;;`;
}

function bashFlags(names: readonly FlagName[]): string {
  return names.map((name) => `--${name}`).join(" ");
}

/** A completion function for zsh: evaluate it after `compinit`, or put it on the fpath as `_picoclaw`. */
export function zshCompletion(): string {
  return `#compdef picoclaw
# Completion of picoclaw for zsh: eval "$(picoclaw completion zsh)"
_picoclaw() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -C \\
${zshSpecs([...GLOBAL_FLAGS, "version"])} \\
    '1: :->command' \\
    '*:: :->arguments'
  case $state in
    command)
      local -a commands
      commands=(
${COMMANDS.map(({ name, summary }) => `        ${shellQuoted(`${name}:${summary}`)}`).join("\n")}
      )
      _describe -t commands command commands ;;
    arguments)
      case $line[1] in
${COMMANDS.map(zshCase).join("\n")}
      esac ;;
  esac
}
if [[ $funcstack[1] == _picoclaw ]]; then _picoclaw "$@"; else compdef _picoclaw picoclaw; fi
`;
}

function zshCase(command: Command): string {
  const names = namesOf(command).join("|");
  const candidates = candidatesOf(command);
  const positionals = command.arguments.map(({ name, rest }, index) => {
    const action = candidates.length > 0 ? `(${candidates.join(" ")})` : " ";
    return `    ${shellQuoted(`${rest ? "*" : index + 1}:${name}:${action}`)}`;
  });
  const specs = [zshSpecs(shownFlags(command)), ...positionals].join(" \\\n");
  return `        ${names}) _arguments \\\n${specs} ;;`;
}

function zshSpecs(names: readonly FlagName[]): string {
  return names.map((name) => `    ${zshSpec(name)}`).join(" \\\n");
}

/** `'(-t --timeout)'{-t+,--timeout=}'[what it is]:TIME: '` */
function zshSpec(name: FlagName): string {
  const flag = flagNamed(name);
  const takesValue = flag.type !== "boolean";
  const tail = `[${zshSummary(flag.summary)}]${takesValue ? `:${flag.value}:${zshAction(name)}` : ""}`;
  const long = `--${name}${takesValue ? "=" : ""}`;
  if (flag.letter === undefined) return shellQuoted(`${long}${tail}`);
  const short = `-${flag.letter}${takesValue ? "+" : ""}`;
  return `${shellQuoted(`(-${flag.letter} --${name})`)}{${short},${long}}${shellQuoted(tail)}`;
}

function zshAction(name: FlagName): string {
  const { type, choices } = flagNamed(name);
  if (choices !== undefined) return `(${choices.join(" ")})`;
  return type === "file" ? "_files" : " ";
}

function zshSummary(text: string): string {
  return text.replaceAll(/[\\[\]:]/g, "\\$&");
}

/** Completions for fish 3 and later. */
export function fishCompletion(): string {
  const outside = "not __fish_seen_subcommand_from (__picoclaw_commands)";
  return [
    "# Completion of picoclaw for fish: picoclaw completion fish > ~/.config/fish/completions/picoclaw.fish",
    "function __picoclaw_commands",
    `    string split ' ' -- ${fishQuote(COMMANDS.flatMap(namesOf).join(" "))}`,
    "end",
    "complete -c picoclaw -f",
    ...COMMANDS.map(
      ({ name, summary }) =>
        `complete -c picoclaw -n ${fishQuote(outside)} -a ${name} -d ${fishQuote(summary)}`,
    ),
    ...[...GLOBAL_FLAGS, "version" as const].map((name) => fishFlag(outside, name)),
    ...COMMANDS.flatMap(fishLines),
    "",
  ].join("\n");
}

function fishLines(command: Command): string[] {
  const inside = `__fish_seen_subcommand_from ${namesOf(command).join(" ")}`;
  const candidates = candidatesOf(command);
  return [
    ...shownFlags(command).map((name) => fishFlag(inside, name)),
    ...(candidates.length > 0
      ? [`complete -c picoclaw -n ${fishQuote(inside)} -a ${fishQuote(candidates.join(" "))}`]
      : []),
  ];
}

function fishFlag(condition: string, name: FlagName): string {
  const { type, letter, choices, summary } = flagNamed(name);
  const words = ["complete -c picoclaw -n", fishQuote(condition), `-l ${name}`];
  if (letter !== undefined) words.push(`-s ${letter}`);
  if (type === "file") words.push("-r -F");
  else if (type !== "boolean") words.push("-x");
  if (choices !== undefined) words.push(`-a ${fishQuote(choices.join(" "))}`);
  return [...words, `-d ${fishQuote(summary)}`].join(" ");
}

function fishQuote(text: string): string {
  return `'${text.replaceAll(/[\\']/g, "\\$&")}'`;
}
