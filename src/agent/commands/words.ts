import { shortened } from "../../base/truncate.ts";
import { visible } from "../../base/visible.ts";
import type { Command } from "./contract.ts";

/** `/show [model|channel|agents]`. */
export function usageOf({ name, options }: Pick<Command, "name" | "options">): string {
  return options === undefined ? `/${name}` : `/${name} ${options}`;
}

/** For an option that the command does not know, or where one is missing. */
export function usageText(command: Pick<Command, "name" | "options">, words: string): string {
  const usage = `Usage: ${usageOf(command)}`;
  return words === "" ? usage : `Unknown option: ${shown(words)}. ${usage}`;
}

/** The first word in lower case, and what follows it as it was written. */
export function firstWord(words: string): { readonly word: string; readonly rest: string } {
  const [, word = "", rest = ""] = /^(\S*)\s*([\s\S]*)$/.exec(words) ?? [];
  return { word: word.toLowerCase(), rest };
}

/** Somebody's words on one line. */
export function shown(words: string): string {
  return visible(shortened(words, 64));
}

/** A heading with a line for each item. */
export function listing(title: string, items: readonly string[]): string {
  return [title, ...items.map((item) => `- ${item}`)].join("\n");
}
