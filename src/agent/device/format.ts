const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** A size: `512 B`, `3.4 GiB`. */
export function sizeText(bytes: number): string {
  let [value, unit] = [Math.max(0, bytes), 0];
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? "B"}`;
}

/** A share, `12.4 %`, between 0 and 100. */
export function percentText(part: number, whole: number): string {
  const share = whole > 0 ? (part / whole) * 100 : 0;
  return `${Math.min(100, Math.max(0, share)).toFixed(1)} %`;
}

/** `1 core`, `4 cores`. */
export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
}

/** `a`, `a and b`, `a, b and c`. */
export function listText(items: readonly string[]): string {
  if (items.length < 2) return items.join("");
  return `${items.slice(0, -1).join(", ")} and ${items.at(-1) ?? ""}`;
}

/** Two digits of a clock or a calendar: `07`. */
export function two(value: number): string {
  return String(value).padStart(2, "0");
}
