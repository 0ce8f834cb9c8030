import type { BaseIssue } from "valibot";
import type { Origin, Warning } from "./contract.ts";
import { lineOf } from "./problem.ts";
import type { Problem } from "./problem.ts";
import { nearestTo } from "./tree.ts";
import type { Path, Tree } from "./tree.ts";

/** What reading a configuration brings to light, each with the place that it is about. */
export interface Findings {
  readonly problems: readonly Problem[];
  readonly warnings: readonly Warning[];
  /** What restricts the agent in the Go program and is not built here. */
  readonly restrictions: readonly Problem[];
  problem(path: Path, text: string): void;
  warn(path: Path, text: string, remedy?: string): void;
  /** Refuses the start of an agent, unless `gateway.ignore_unsupported` names the key or one above it. */
  restriction(path: Path, text: string): void;
  /** The issues of a schema that has read what is at `base`. */
  issues(issues: readonly BaseIssue<unknown>[] | undefined, base: Path): void;
  originAt(path: Path): Origin;
}

/** Findings about a tree: the origin of a missing value is that of the object it is missing in. */
export function createFindings(tree: Tree): Findings {
  const problems: Problem[] = [];
  const warnings: Warning[] = [];
  const restrictions: Problem[] = [];
  const originAt = (path: Path): Origin => nearestTo(tree, path).origin;
  const problem = (path: Path, text: string): void => {
    problems.push({ origin: originAt(path), path, text });
  };
  return {
    problems,
    warnings,
    restrictions,
    originAt,
    problem,
    restriction(path, text) {
      restrictions.push({ origin: originAt(path), path, text });
    },
    warn(path, text, remedy) {
      const message = lineOf({ origin: originAt(path), path, text });
      warnings.push(remedy === undefined ? { message } : { message, remedy });
    },
    issues(issues = [], base) {
      for (const issue of issues) problem([...base, ...pathOf(issue)], issue.message);
    },
  };
}

function pathOf(issue: BaseIssue<unknown>): Path {
  return (issue.path ?? []).map(({ key }) => (typeof key === "number" ? key : String(key)));
}
