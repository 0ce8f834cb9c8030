import { escapeControl } from "../base/escape-control.ts";
import { Failure } from "../base/failure.ts";
import { nearestTo, pathText } from "./tree.ts";
import type { Origin, Path, Tree } from "./tree.ts";

export interface Warning {
  /** One sentence that names file, line and key. */
  readonly message: string;
  readonly remedy?: string;
}

/** Problems, warnings and restrictions of a configuration, each with its place. */
export class Findings {
  readonly problems: Problem[] = [];
  readonly warnings: Warning[] = [];
  /** Keys that restrict the agent in the Go program and are not built here. */
  readonly restrictions: Problem[] = [];
  readonly #tree: Tree;

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  /** A property, so that it can be handed on without its object. */
  readonly problem = (path: Path, text: string): void => {
    this.problems.push({ origin: this.originAt(path), path, text });
  };

  warn(path: Path, text: string, remedy?: string): void {
    const message = lineOf({ origin: this.originAt(path), path, text });
    this.warnings.push(remedy === undefined ? { message } : { message, remedy });
  }

  /** An agent does not start with it, unless `gateway.ignore_unsupported` names the key or one above it. */
  restriction(path: Path, text: string): void {
    this.restrictions.push({ origin: this.originAt(path), path, text });
  }

  /** The origin of a missing value is that of the object around it. */
  originAt(path: Path): Origin {
    return nearestTo(this.#tree, path).origin;
  }
}

/** One wrong value. Its text never holds the value of a secret. */
export interface Problem {
  readonly origin: Origin;
  /** As at version 3. */
  readonly path: Path;
  /** What was found, and what is allowed. */
  readonly text: string;
}

const CHECK = "`picoclaw config validate` checks again";

/**
 * All problems as one failure: wrong usage (`usage`) if all come from flags, else `config`. Several problems
 * have one line each in `why`.
 */
export function problemsFailure(problems: readonly Problem[], file: string): Failure {
  const code = problems.every(({ origin }) => origin.from === "flag") ? "usage" : "config";
  const lines = problemLines(problems);
  const [first = ""] = lines;
  const check = code === "usage" ? "`picoclaw help settings` says what is allowed" : CHECK;
  if (lines.length === 1) return new Failure(code, first, { remedy: `correct it; ${check}` });
  const inFile = problems.every(({ origin }) => origin.from === "file" && origin.file === file);
  const where = inFile ? `in ${file}` : "of the configuration";
  return new Failure(code, `${lines.length} values ${where} are wrong`, {
    why: lines.join("\n"),
    remedy: `correct them; ${check}`,
  });
}

/** One line for each problem, in the order of the layers, none twice. */
export function problemLines(problems: readonly Problem[]): readonly string[] {
  return [...new Set(problems.toSorted(byPlace).map(lineOf))];
}

/** `/etc/picoclaw/config.json:12: gateway.port: …`; for a variable or a flag, its name is enough. */
export function lineOf({ origin, path, text }: Problem): string {
  const place = origin.from === "default" ? "" : `${locationOf(origin)}: `;
  const named = origin.from === "environment" || origin.from === "flag" || path.length === 0;
  return `${place}${named ? "" : `${quotable(pathText(path), 200)}: `}${text}`;
}

/** Text from a file as a part of one line: control characters escaped, and cut at `most` characters. */
export function quotable(text: string, most = 60): string {
  const characters = Array.from(escapeControl(text));
  return characters.length <= most ? characters.join("") : `${characters.slice(0, most).join("")}…`;
}

/** The end of a sentence about a wrong word: the word that was probably meant, if there is one. */
export function didYouMean(nearest: string | undefined): string {
  return nearest === undefined ? "" : `; did you mean ${quotable(nearest)}?`;
}

/** Characters of a pattern; comparing stays cheap. */
const MAX_PATTERN = 256;

/** Adds a problem if the last name of the path cannot be a pattern of client ids. */
export function checkPattern(path: Path, findings: Findings): void {
  const { length } = String(path.at(-1));
  if (length > 0 && length <= MAX_PATTERN) return;
  const found = length === 0 ? "an empty pattern" : `a pattern of ${length} characters`;
  findings.problem(path, `found ${found}, allowed are 1 to ${MAX_PATTERN} characters`);
}

/** Order: config.json by line, .security.yml by line, the environment, flags. */
function byPlace({ origin: left }: Problem, { origin: right }: Problem): number {
  if (left.from !== "file" || right.from !== "file") return rank(left) - rank(right);
  if (left.file !== right.file) return left.file < right.file ? 1 : -1;
  return left.line - right.line;
}

function rank({ from }: Origin): number {
  return ["file", "environment", "flag", "default"].indexOf(from);
}

/** `/etc/picoclaw/config.json:12`, `environment PICOCLAW_LOG_LEVEL`, `--broker`, `default`. */
export function locationOf(origin: Origin): string {
  if (origin.from === "file") return `${origin.file}:${origin.line}`;
  if (origin.from === "environment") return `environment ${origin.variable}`;
  return origin.from === "flag" ? origin.flag : "default";
}
