import { type Command, COMMANDS, GLOBAL_FLAGS, namesOf } from "../args/commands.ts";
import { candidatesOf, shownFlags } from "../args/commands.ts";
import { type FlagName, flagNamed, flagNames } from "../args/flags.ts";

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
${valueCases().join("\n")}
  esac
  local words= flags='${flagsAsWords([...GLOBAL_FLAGS, "version"])}'
  case $command in
    '') words='${COMMANDS.map(({ name }) => name).join(" ")}' ;;
${COMMANDS.map(commandCase).join("\n")}
  esac
  [[ $current == -* ]] && words=$flags
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _picoclaw picoclaw
`;
}

function valueCases(): string[] {
  const valued = flagNames().filter((name) => flagNamed(name).type !== "boolean");
  const files = valued.filter((name) => flagNamed(name).type === "file");
  const choices = valued.filter((name) => flagNamed(name).choices !== undefined);
  const others = valued.filter((name) => !files.includes(name) && !choices.includes(name));
  return [
    ...choices.map((name) => {
      const words = flagNamed(name).choices?.join(" ") ?? "";
      return `    ${spelled(name)}) COMPREPLY=($(compgen -W '${words}' -- "$current")); return ;;`;
    }),
    `    ${files.map(spelled).join("|")}) compopt -o default 2>/dev/null; return ;;`,
    `    ${others.map(spelled).join("|")}) return ;;`,
  ];
}

function spelled(name: FlagName): string {
  const { letter } = flagNamed(name);
  return letter === undefined ? `--${name}` : `--${name}|-${letter}`;
}

function commandCase(command: Command): string {
  const words = candidatesOf(command).join(" ");
  return `    ${command.name}) words='${words}' flags='${flagsAsWords(shownFlags(command))}' ;;`;
}

function flagsAsWords(names: readonly FlagName[]): string {
  return names.map((name) => `--${name}`).join(" ");
}
