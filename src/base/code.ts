/** The system's name of an error, such as `ENOENT`; "" where it has none. */
export function codeOf(error: unknown): string {
  const isCoded = error instanceof Error && "code" in error && typeof error.code === "string";
  return isCoded ? String(error.code) : "";
}
