import { join } from "node:path";

/** One part of the program that somebody else has written, or the program itself. */
export interface Licensed {
  readonly name: string;
  readonly version: string;
  /** An SPDX expression. */
  readonly license: string;
  readonly text: string;
}

/** Set by `scripts/build.ts` alone: JSON of what the binary holds, in gzip and base64. */
declare const PICOCLAW_LICENSES: string | undefined;

/**
 * The licences of all that the program is made of, itself first: of a binary those of what was built
 * into it, else of the packages that are installed beside the source.
 */
export async function licenses(): Promise<readonly Licensed[]> {
  if (typeof PICOCLAW_LICENSES === "string") {
    const { gunzipSync } = await import("node:zlib");
    const built: readonly Licensed[] = JSON.parse(
      gunzipSync(Buffer.from(PICOCLAW_LICENSES, "base64")).toString("utf8"),
    );
    return built;
  }
  const { withDependencies } = await import("./package.ts");
  const packages = await withDependencies(join(import.meta.dirname, "../../.."));
  return packages.map(({ name, version, license, text }) => {
    return { name, version, license, text: text || `https://spdx.org/licenses/${license}.html` };
  });
}

/** A list of all, and then each text. */
export function licensesText(all: readonly Licensed[]): string {
  const widest = Math.max(...all.map((one) => titleOf(one).length));
  const list = all.map((one) => `${titleOf(one).padEnd(widest)}  ${one.license}`);
  const texts = all.map((one) => `${titleOf(one)}: ${one.license}\n\n${one.text}`);
  return `${[list.join("\n"), ...texts].join(`\n\n${"-".repeat(78)}\n\n`)}\n`;
}

function titleOf({ name, version }: Licensed): string {
  return version === "" ? name : `${name} ${version}`;
}
