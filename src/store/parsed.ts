/** What this program wrote as JSON; nobody else writes into its file. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters
export function parsed<T>(text: unknown): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return JSON.parse(String(text)) as T;
}
