/** A text as a key: PostgreSQL refuses U+0000 and text that is not well-formed Unicode, so JSON stands for it. */
export function keyOf(text: string): string {
  return text.isWellFormed() && !text.includes("\0") ? text : JSON.stringify(text);
}

/** The text of a key that was read. */
export function textOf(column: unknown): string {
  const key = String(column);
  if (!key.startsWith('"')) return key;
  try {
    const text: unknown = JSON.parse(key);
    return typeof text === "string" && keyOf(text) === key ? text : key;
  } catch {
    return key;
  }
}
