import type { Message } from "../agent/contract.ts";
import { escapeControl, jsonLine } from "../base/escape-control.ts";
import type { Redactor } from "../base/redaction/redactor.ts";
import type { StoredTurn } from "../store/contract.ts";
import type { Paint } from "./colour.ts";

/** Formats one turn of a conversation. */
export type PrintTurn = (turn: StoredTurn<Message>) => string;

/** The turn with secrets masked; a turn stored long ago may contain some. */
export function redactedTurn(
  turn: StoredTurn<Message>,
  redactor: Pick<Redactor, "redact">,
): StoredTurn<Message> {
  return { ...turn, messages: turn.messages.map((message) => redactedMessage(message, redactor)) };
}

function redactedMessage(message: Message, redactor: Pick<Redactor, "redact">): Message {
  const text = redactor.redact(message.text);
  if (message.role === "tool") return { ...message, text, name: redactor.redact(message.name) };
  if (message.role !== "assistant" || message.toolCalls === undefined) return { ...message, text };
  const toolCalls = message.toolCalls.map((call) =>
    Object.assign({}, call, {
      name: redactor.redact(call.name),
      arguments: redactor.redact(call.arguments),
    }),
  );
  return { ...message, text, toolCalls };
}

/** For people: control characters are escaped, and no text can imitate a line of another speaker. */
export function readableTurn(client: string, paint: Paint): PrintTurn {
  return ({ at, messages }) => {
    const lines = messages.flatMap((message) => {
      const said = statementsIn(message, client).map(
        ({ who, text }) => `${paint.bold(escapeControl(who))}: ${indented(text)}`,
      );
      return said;
    });
    return `${paint.dim(timeOf(at))}\n${lines.join("\n")}\n\n`;
  };
}

/** One section per turn, messages as quotations. */
export function markdownTurn(client: string): PrintTurn {
  return ({ at, messages }) => {
    const blocks = messages
      .flatMap((message) => statementsIn(message, client))
      .map(({ who, text }) => `**${escapedMarkdown(who)}:**\n\n${quoted(text)}\n`);
    return `## ${timeOf(at)}\n\n${blocks.join("\n")}\n`;
  };
}

export function markdownTitle(client: string, channel: string): string {
  return `# Conversation with ${escapedMarkdown(client)} (${escapedMarkdown(channel)})\n\n`;
}

/** One line per message; `turn` is the same for the messages of one turn. */
export function jsonTurn(): PrintTurn {
  return ({ id, at, messages }) =>
    messages
      .map((message) =>
        jsonLine({ v: 1, type: "message", turn: id, at: timeOf(at), ...factsOf(message) }),
      )
      .join("");
}

function factsOf(message: Message): object {
  const { role, text } = message;
  if (message.role === "tool") {
    return { role, call_id: message.callId, name: message.name, text };
  }
  if (message.role !== "assistant" || message.toolCalls === undefined) return { role, text };
  return { role, text, tool_calls: message.toolCalls };
}

/** ISO 8601 in UTC, as in the log and in `listen`. */
export function timeOf(at: number): string {
  return new Date(at).toISOString();
}

interface Statement {
  readonly who: string;
  readonly text: string;
}

/** The statements of a message: by the client, by the agent, by the agent to a tool, or by a tool. */
function statementsIn(message: Message, client: string): readonly Statement[] {
  if (message.role === "summary") return [{ who: "summary", text: message.text }];
  if (message.role === "user") return [{ who: client, text: message.text }];
  if (message.role === "tool") return [{ who: `${message.name} to picoclaw`, text: message.text }];
  const calls = (message.toolCalls ?? []).map(({ name, arguments: text }) => ({
    who: `picoclaw to ${name}`,
    text,
  }));
  return message.text === "" ? calls : [{ who: "picoclaw", text: message.text }, ...calls];
}

function indented(text: string): string {
  return escapeControl(text, "\n\t").trimEnd().replaceAll("\n", "\n  ");
}

/** Marks each line, so that no text can end the quotation. */
function quoted(text: string): string {
  return text
    .split(/\r\n?|\n/)
    .map((line) => `> ${line}`)
    .join("\n");
}

function escapedMarkdown(text: string): string {
  return escapeControl(text).replaceAll(/[\\`*_[\]<>#]/g, "\\$&");
}
