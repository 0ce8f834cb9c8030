import type { CommandNode, Word } from "unbash";
import type { Field } from "./field.ts";
import type { ShellKind } from "./sh.ts";

/** What was found out about a command by taking it apart. */
export interface Findings {
  /** Why it must not run. */
  readonly refusals: string[];
  /** Programs and paths that nobody can know, and what to write instead. */
  readonly unknownPrograms: string[];
  readonly unknownPaths: string[];
  /** Texts that a shell reads, without the words that are only data. */
  readonly texts: string[];
  /** What may be paths, as programs get them. */
  readonly paths: string[];
}

/** What a command reads. */
export type Input = Reading | "nothing" | "pipe" | "file" | "unknown";

/** What is read stands in the command itself. */
export interface Reading {
  readonly text: string;
  /** Where, if it does so by itself. */
  readonly word?: Span;
}

/** From where to where in the command's text. */
export type Span = Pick<Word, "pos" | "end">;

/** A simple command where it stands. */
export interface Call {
  /** Without its folder, in small letters. */
  readonly name: string;
  readonly args: readonly Field[];
  readonly input: Input;
  /** The commands whose output it reads, and those that read its own. */
  readonly before: readonly CommandNode[];
  readonly after: readonly CommandNode[];
  /** Its output becomes a part of a command, or a file. */
  readonly isProtected: boolean;
  /** Programs around it that run it. */
  readonly depth: number;
}

/** How a command in a command is judged. */
export interface Judging {
  readonly findings: Findings;
  /** A program that another one runs, by one of the names it may have. */
  named(name: Field, call: Omit<Call, "name">): void;
  /** A text that a shell runs. */
  script(text: string, shell: ShellKind): void;
  /** A word that is looked at as `shown` in the command's text: data is nothing. */
  mask(field: { readonly word: Span }, shown: string): void;
}
