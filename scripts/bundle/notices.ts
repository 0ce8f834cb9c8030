import { gzipSync } from "node:zlib";
import type { InstalledPackage } from "../../src/cli/commands/version.ts";
import { RUNTIME_LICENSE, runtimeNotice } from "./runtime.ts";

/**
 * The licences of the packages, and of Bun where a version of it goes along, as JSON in gzip and base64, which
 * `version --licenses` reads.
 */
export async function noticesOf(
  packages: readonly InstalledPackage[],
  bun?: string,
): Promise<string> {
  const entries = packages.map(({ name, version, license, text }) => {
    return { name, version, license, text };
  });
  if (bun !== undefined) {
    const text = await runtimeNotice(bun);
    entries.push({ name: "bun", version: bun, license: RUNTIME_LICENSE, text });
  }
  return gzipSync(JSON.stringify(entries), { level: 9 }).toString("base64");
}
