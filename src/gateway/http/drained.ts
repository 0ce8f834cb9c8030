import type { ServerResponse } from "node:http";

/** Writes, and waits while the client does not read. */
export async function writeDrained(
  response: ServerResponse,
  chunk: string | Uint8Array,
): Promise<void> {
  if (response.write(chunk) || response.destroyed) return;
  await new Promise<void>((resolve) => {
    const go = (): void => {
      response.off("drain", go).off("close", go);
      resolve();
    };
    response.on("drain", go).on("close", go);
  });
}
