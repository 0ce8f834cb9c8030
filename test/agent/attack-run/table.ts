import type { Attack } from "./attack.ts";

/** The text of docs/attacks.md: the attacks, and what stopped them. */
export function attacksTable(attacks: readonly Attack[]): string {
  const stopped = attacks.filter((attack) => attack.stopped !== undefined);
  const unstopped = attacks.filter((attack) => attack.unstopped !== undefined);
  return `# Attacks that were tried

${whereRun(attacks)}

Each attack is a file in \`test/agent/attacks\`. \`npm test\` runs it against the whole program, with a real broker, real files and real web servers. The model is a script that does what the attacker wants: the tests do not ask whether a model can be deceived, but what the program lets a deceived model do. After each attack they check what changed on the device, which web requests were made, what was published, what the log contains, and whether other clients are still served.

\`npm run attacks -- --mutate\` tests the tests: it removes each defence of \`scripts/attacks/defences.yaml\` from a copy of the program, inside bubblewrap, and counts the tests that then fail. It ends with 1 if no test fails. It takes some minutes and does not run in CI; CI only checks that the table still matches the source.

## Stopped attacks

${tableOf(stopped, "what stopped it", ({ stopped: words = "" }) => words)}

## Attacks that are not stopped

This list says which protection does not exist.

${tableOf(unstopped, "why", ({ unstopped: words = "" }) => words)}
`;
}

/** The number of attacks, and where they run. */
function whereRun(attacks: readonly Attack[]): string {
  const sandboxed = attacks.filter(({ needs }) => needs === "bubblewrap");
  const unstopped = attacks.filter((attack) => attack.unstopped !== undefined);
  const [all, sandboxedCount] = [attacks.length, sandboxed.length];
  return `${all} attacks: ${all - unstopped.length} are stopped, ${unstopped.length} are not. They run from source, under Bun and under Deno, as root and as another user. The compiled binary has its own tests in \`test/e2e\`. ${all - sandboxedCount} attacks run with and without bubblewrap; ${sandboxedCount} are stopped by its sandbox and run only if it is installed. All need mosquitto. CI installs both. Attacks that did not run are counted as skipped.`;
}

function tableOf(
  attacks: readonly Attack[],
  last: string,
  words: (attack: Attack) => string,
): string {
  const rows = attacks.map((attack, index) => [
    String(index + 1),
    attack.title,
    attack.from,
    attack.rights,
    words(attack),
    attack.source,
  ]);
  const heads = ["", "attack", "poison in", "permissions", last, "described by"];
  return padded([heads, ...rows.map((row) => row.map(cell))]);
}

function cell(text: string): string {
  return text
    .trim()
    .replaceAll("|", String.raw`\|`)
    .replaceAll(/\s+/g, " ");
}

/** Aligned as oxfmt formats tables. */
function padded(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(3, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (row: readonly string[]): string =>
    `| ${row.map((text, column) => text.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  const [heads = [], ...others] = rows;
  return [line(heads), rule, ...others.map(line)].join("\n");
}
