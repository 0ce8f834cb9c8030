import { Failure } from "../base/failure.ts";
import { visible } from "../base/visible.ts";
import type { Origin } from "./contract.ts";
import { placeOf } from "./origin.ts";
import { pathText } from "./tree.ts";
import type { Path } from "./tree.ts";

/** One wrong value. Its text never holds the value of a secret. */
export interface Problem {
  readonly origin: Origin;
  /** As at version 3. */
  readonly path: Path;
  /** What was found and what is allowed. */
  readonly text: string;
}

const CHECK = "`picoclaw gateway --check` checks again";

/** All problems as one failure: the single one by itself, several with one line each in `why`. */
export function failureOf(problems: readonly Problem[], file: string): Failure {
  const lines = [...new Set(problems.toSorted(byPlace).map(lineOf))];
  const [first = ""] = lines;
  if (lines.length === 1) return new Failure("config", first, { remedy: `correct it; ${CHECK}` });
  const inFile = problems.every(({ origin }) => origin.from === "file" && origin.file === file);
  const where = inFile ? `in ${file}` : "of the configuration";
  return new Failure("config", `${lines.length} values ${where} are wrong`, {
    why: lines.join("\n"),
    remedy: `correct them; ${CHECK}`,
  });
}

/** `/etc/picoclaw/config.json:12: gateway.port: …`; a variable or a flag names its value by itself. */
export function lineOf({ origin, path, text }: Problem): string {
  const place = origin.from === "default" ? "" : `${placeOf(origin)}: `;
  const named = origin.from === "environment" || origin.from === "flag" || path.length === 0;
  return `${place}${named ? "" : `${quotable(pathText(path), 200)}: `}${text}`;
}

/** Text from a file as a part of one line: controls made visible, and not more than a line needs. */
export function quotable(text: string, most = 60): string {
  const characters = Array.from(visible(text));
  return characters.length <= most ? characters.join("") : `${characters.slice(0, most).join("")}…`;
}

/** config.json before .security.yml, in the order of their lines; then the environment and flags. */
function byPlace({ origin: left }: Problem, { origin: right }: Problem): number {
  if (left.from !== "file" || right.from !== "file") return rank(left) - rank(right);
  if (left.file !== right.file) return left.file < right.file ? 1 : -1;
  return left.line - right.line;
}

function rank({ from }: Origin): number {
  return ["file", "environment", "flag", "default"].indexOf(from);
}
