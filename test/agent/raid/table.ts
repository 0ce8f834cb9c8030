import type { Attack } from "./attack.ts";

/** docs/attacks.md: what was tried, and what stopped it. */
export function attacksTable(attacks: readonly Attack[]): string {
  const stopped = attacks.filter((attack) => attack.stopped !== undefined);
  const unstopped = attacks.filter((attack) => attack.unstopped !== undefined);
  return `# Attacks that were tried

Each is a file in \`test/agent/attacks\` and is run by \`npm test\` against the whole program, with a real broker, real files and real web servers. The model is a script that does what the attacker wants: whether a model can be fooled is not the question, but what the program lets it do then. After each it is compared what changed on the device, what was asked of the web, what was published, what stands in the log, and whether others are served as before.

## What something stops

${tableOf(stopped, "what stopped it", ({ stopped: words = "" }) => words)}

## What nothing stops

Written down so that nobody relies on what is not there.

${tableOf(unstopped, "why", ({ unstopped: words = "" }) => words)}
`;
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
