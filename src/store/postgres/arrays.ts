/** A list as a value for an array type. */
export function arrayOf(values: readonly (string | number | null)[]): string {
  const elements = values.map((value) => {
    if (value === null) return "NULL";
    return typeof value === "number"
      ? `${value}`
      : `"${value.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
  });
  return `{${elements.join(",")}}`;
}
