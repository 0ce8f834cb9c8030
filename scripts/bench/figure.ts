/** One measured thing beside the same of something else, measured in turn with it. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly ours: readonly number[];
  readonly reference?: Series | undefined;
  /** The same of a Go picoclaw, where there is one. */
  readonly go?: Series | undefined;
}

export interface Series {
  readonly name: string;
  readonly values: readonly number[];
}

const DASH = "–";

/** A table in Markdown: the median of each, with its quartiles, and the ratio of the medians. */
export function tableOf(figures: readonly Figure[]): string {
  const hasGo = figures.some(({ go }) => go !== undefined);
  const rows = figures.map(({ name, unit, ours, reference, go }) => [
    `${name}, ${unit}`,
    spreadOf(ours),
    reference === undefined ? DASH : `${spreadOf(reference.values)} ${reference.name}`,
    ratioText(ours, reference),
    ...(hasGo ? [go === undefined ? DASH : spreadOf(go.values), ratioText(ours, go)] : []),
  ]);
  const head = ["figure", "picoclaw", "reference", "ratio", ...(hasGo ? ["Go", "ratio"] : [])];
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

export function lineOf({ name, unit, ours, reference, go }: Figure): string {
  const beside = [reference, go].flatMap((series) =>
    series === undefined
      ? []
      : [`${series.name} ${spreadOf(series.values)}, ratio ${ratioText(ours, series)}`],
  );
  return [`${name}: ${spreadOf(ours)} ${unit}`, ...beside].join("; ");
}

/** The value below which that share of the values lies, 0 to 1. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? Number.NaN;
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

function spreadOf(values: readonly number[]): string {
  const middle = short(median(values));
  if (values.length < 4) return middle;
  return `${middle} (${short(quantile(values, 0.25))} to ${short(quantile(values, 0.75))})`;
}

function short(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toFixed(digits);
}

function ratioText(ours: readonly number[], series: Series | undefined): string {
  return series === undefined ? DASH : (median(ours) / median(series.values)).toFixed(2);
}

const ROW = 22;
const LEFT = 450;
const WIDTH = 400;
/** The ratios at the left and right end of the axis. */
const [LEAST, MOST] = [0.05, 100];

/** A bar for each ratio, on a logarithmic axis; it begins at 1. */
export function plotOf(figures: readonly Figure[]): string {
  const shown = figures.filter(({ reference }) => reference !== undefined);
  const at = (ratio: number): number => {
    const share = Math.log(ratio / LEAST) / Math.log(MOST / LEAST);
    return LEFT + WIDTH * Math.min(Math.max(share, 0), 1);
  };
  const bars = shown.map(({ name, ours, reference }, index) => {
    const ratio = median(ours) / median(reference?.values ?? []);
    const [x, y] = [at(ratio), ROW * (index + 1)];
    const [from, to] = [Math.min(x, at(1)), Math.max(x, at(1))];
    return [
      `<text x="${LEFT - 8}" y="${y + 12}" text-anchor="end">${escapeXml(name.replaceAll("`", ""))}</text>`,
      `<rect x="${from.toFixed(1)}" y="${y}" width="${Math.max(to - from, 1).toFixed(1)}" height="15" fill="#4c78a8"/>`,
      `<text x="${(to + 5).toFixed(1)}" y="${y + 12}">${ratio.toFixed(2)}</text>`,
    ].join("");
  });
  const height = ROW * (shown.length + 2);
  const axis = [0.1, 1, 2, 10, 100].map((ratio) => {
    const x = at(ratio).toFixed(1);
    return `<line x1="${x}" y1="${ROW - 6}" x2="${x}" y2="${height - ROW}" stroke="#ccc"/><text x="${x}" y="${height - 6}" text-anchor="middle">${ratio} ×</text>`;
  });
  const size = `viewBox="0 0 ${LEFT + WIDTH + 60} ${height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
${[...axis, ...bars].join("\n")}
</svg>
`;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
