/** A command of the chat: `/name words` or `!name words`. */
export interface ChatCommand {
  /** In lower case. */
  readonly name: string;
  /** What follows the name, trimmed. */
  readonly words: string;
}

/** The command that a request's text is; undefined for other texts. */
export function commandIn(text: string): ChatCommand | undefined {
  const [, name, words = ""] = /^\s*[/!]([a-z]+)(?:\s+([\s\S]*))?$/i.exec(text) ?? [];
  return name === undefined ? undefined : { name: name.toLowerCase(), words: words.trim() };
}

/** Whether the text is `/stop`. */
export function isStopCommand(text: string): boolean {
  const command = commandIn(text);
  return command?.name === "stop" && command.words === "";
}
