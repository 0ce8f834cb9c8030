/** A text that is no Unicode would be changed on its way into the database, and not be found again. */
export function storable(text: string): string {
  return text.isWellFormed() ? text : JSON.stringify(text);
}
