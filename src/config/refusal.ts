import { Failure } from "../base/failure.ts";
import type { Warning } from "./contract.ts";
import type { Findings } from "./findings.ts";
import { lineOf, quotable } from "./problem.ts";
import type { Problem } from "./problem.ts";
import { pathText } from "./tree.ts";

export interface Refusal {
  /** Of code `config`; undefined where nothing is refused. */
  readonly refusal: Failure | undefined;
  /** What is ignored because somebody said so, and names that ignore nothing. */
  readonly ignored: readonly Warning[];
}

const REMEDY = (path: string): string =>
  `remove the key, or add "${path}" to gateway.ignore_unsupported; \`picoclaw gateway --check\` checks again`;

/** Why an agent must not start: every restriction that is not built here and that nobody ignores. */
export function refusalOf(
  { restrictions, originAt }: Pick<Findings, "restrictions" | "originAt">,
  ignored: readonly string[],
  file: string,
): Refusal {
  const isIgnored = ({ path }: Problem): boolean =>
    ignored.some((name) => covers(name.trim(), pathText(path)));
  const refused = restrictions.filter((one) => !isIgnored(one));
  return {
    refusal: failureOf(refused, file),
    ignored: [
      ...restrictions.filter(isIgnored).map((one) => ({
        message: `${lineOf(one)} (ignored: gateway.ignore_unsupported)`,
      })),
      ...uselessNames(restrictions, ignored, originAt),
    ],
  };
}

/** Whether a path is a key or stands above it. */
function covers(name: string, path: string): boolean {
  return path === name || path.startsWith(`${name}.`) || path.startsWith(`${name}[`);
}

function uselessNames(
  restrictions: readonly Problem[],
  ignored: readonly string[],
  originAt: Findings["originAt"],
): Warning[] {
  const path = ["gateway", "ignore_unsupported"];
  return ignored
    .filter((name) => !restrictions.some((one) => covers(name.trim(), pathText(one.path))))
    .map((name) => ({
      message: lineOf({
        origin: originAt(path),
        path,
        text: `"${quotable(name)}" names no restriction that is refused here`,
      }),
      remedy: "remove the name",
    }));
}

function failureOf(refused: readonly Problem[], file: string): Failure | undefined {
  const [first, ...others] = refused;
  if (first === undefined) return undefined;
  const why =
    "the Go program restricts the agent by it, and a start that drops a restriction is refused";
  if (others.length === 0) {
    return new Failure("config", lineOf(first), { why, remedy: REMEDY(pathText(first.path)) });
  }
  const names = [...new Set(refused.map(({ path }) => pathText(path)))];
  return new Failure(
    "config",
    `${refused.length} restrictions in ${file} are not built here, and a start that drops them is refused`,
    { why: refused.map(lineOf).join("\n"), remedy: REMEDY(names.join('", "')) },
  );
}
