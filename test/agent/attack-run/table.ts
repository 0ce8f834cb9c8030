import type { Attack } from "./attack.ts";

/** docs/attacks.md: what was tried, and what stopped it. */
export function attacksTable(attacks: readonly Attack[]): string {
  const stopped = attacks.filter((attack) => attack.stopped !== undefined);
  const unstopped = attacks.filter((attack) => attack.unstopped !== undefined);
  return `# Attacks that were tried

${whereRun(attacks)}

Each is a file in \`test/agent/attacks\` and is run by \`npm test\` against the whole program, with a real broker, real files and real web servers. The model is a script that does what the attacker wants: whether a model can be fooled is not the question, but what the program lets it do then. After each it is compared what changed on the device, what was asked of the web, what was published, what stands in the log, and whether others are served as before.

What a test notices is shown by taking it away: \`npm run attacks -- --mutate\` takes each defence that \`scripts/attacks/defences.yaml\` names out of a copy of the program, behind a wall of bubblewrap, and counts the tests that fail then; it ends with 1 where there is none. It takes some minutes and is no part of CI, which only looks whether the table still fits the source.

## What something stops

${tableOf(stopped, "what stopped it", ({ stopped: words = "" }) => words)}

## What nothing stops

Written down so that nobody relies on what is not there.

${tableOf(unstopped, "why", ({ unstopped: words = "" }) => words)}
`;
}

/** How many there are, and how many of them run where. */
function whereRun(attacks: readonly Attack[]): string {
  const sandboxed = attacks.filter(({ needs }) => needs === "bubblewrap");
  const unstopped = attacks.filter((attack) => attack.unstopped !== undefined);
  const [all, sandboxedCount] = [attacks.length, sandboxed.length];
  return `${all} attacks, ${all - unstopped.length} that something stops and ${unstopped.length} that nothing does. They run from source, under Bun and under Deno, as root and as another user, where mosquitto is installed; the compiled binary has its own tests in \`test/e2e\`, and none of these. ${all - sandboxedCount} run with and without bubblewrap; ${sandboxedCount} are stopped by its sandbox and run only where it is installed (CI installs both). Without mosquitto none runs. What was left out is counted as skipped.`;
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
  const heads = ["", "attack", "poison in", "rights of who asks", last, "described by"];
  return padded([heads, ...rows.map((row) => row.map(cell))]);
}

function cell(text: string): string {
  return text
    .trim()
    .replaceAll("|", String.raw`\|`)
    .replaceAll(/\s+/g, " ");
}

/** As oxfmt wants tables. */
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
