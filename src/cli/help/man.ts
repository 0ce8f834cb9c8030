import { VERSION } from "../../base/version.ts";
import type { Command } from "../args/command.ts";
import { COMMANDS, GLOBAL_FLAGS } from "../args/commands.ts";
import { shownOf } from "../args/flags.ts";
import { EXIT_CODES } from "../exit-codes.ts";
import { flagRow, type Row, usageOf } from "./page.ts";

/** The manual page picoclaw(1) in roff (man(7)), made from the tables of commands, flags and exit codes. */
export function manPage(): string {
  const sections = [
    `.TH PICOCLAW 1 "" ${quoted(`picoclaw ${VERSION}`)} "User Commands"`,
    section("NAME", [String.raw`picoclaw \- an AI agent behind an MQTT topic`]),
    section("SYNOPSIS", [".B picoclaw", ".I command", "[flags]"]),
    section("COMMANDS", COMMANDS.flatMap(commandLines)),
    section("FLAGS OF EVERY COMMAND", GLOBAL_FLAGS.map(flagRow).flatMap(rowLines)),
    section(
      "EXIT STATUS",
      [...EXIT_CODES].flatMap(([code, meaning]) => rowLines([`${code}`, meaning])),
    ),
    section("FILES", [
      ...rowLines([
        "~/.picoclaw/config.json",
        "the configuration; PICOCLAW_CONFIG names another file",
      ]),
      ...rowLines(["~/.picoclaw/.security.yml", "its secrets"]),
    ]),
    section("SEE ALSO", [
      String.raw`.BR "picoclaw help settings" ,`,
      String.raw`.BR "picoclaw help environment" ,`,
      String.raw`.BR "picoclaw help wire" ,`,
      String.raw`.BR "picoclaw help json"`,
    ]),
  ];
  return `${sections.join("\n")}\n`;
}

function section(title: string, lines: readonly string[]): string {
  return [`.SH ${quoted(title)}`, ...lines].join("\n");
}

function commandLines(command: Command): readonly string[] {
  const { detail = [], aliases = [], examples, flags } = command;
  return [
    `.SS ${quoted(`picoclaw ${usageOf(command)}`)}`,
    text(sentence(command.summary)),
    ...(aliases.length > 0 ? [".PP", text(`Also: ${aliases.join(", ")}.`)] : []),
    ...detail.flatMap((paragraph) => [".PP", text(paragraph)]),
    ...shownOf(flags).map(flagRow).flatMap(rowLines),
    ".PP",
    "Examples:",
    ...examples.flatMap(({ line, does }) => rowLines([line, does])),
  ];
}

function rowLines([left, right]: Row): readonly string[] {
  return [".TP", `.B ${quoted(left.trim())}`, text(right)];
}

function sentence(summary: string): string {
  return `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
}

/** A line of text: what roff would obey is escaped. */
function text(line: string): string {
  const escaped = escapedText(line);
  return /^[.']/.test(escaped) ? String.raw`\&${escaped}` : escaped;
}

function escapedText(line: string): string {
  return line
    .replaceAll("\\", String.raw`\e`)
    .replaceAll("-", String.raw`\-`)
    .replaceAll("…", "...")
    .replaceAll(/[^\n -~]/gu, rune);
}

/** `\[u00B7]` */
function rune(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return String.raw`\[u${code.toString(16).toUpperCase().padStart(4, "0")}]`;
}

/** An argument of a macro. */
function quoted(word: string): string {
  return `"${escapedText(word).replaceAll('"', String.raw`\(dq`)}"`;
}
