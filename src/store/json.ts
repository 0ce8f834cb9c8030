/** Parses JSON that this program wrote; nobody else writes into its file. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters
export function fromJson<T>(text: unknown): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return JSON.parse(String(text)) as T;
}

/** A text as a key of the database: SQLite changes a text that is not well-formed Unicode, so JSON stands for it. */
export function keyOf(text: string): string {
  return text.isWellFormed() ? text : JSON.stringify(text);
}
