import { join } from "node:path";
import { jsonLine } from "../../base/escape-control.ts";
import { VERSION } from "../../base/version.ts";
import type { Context } from "../context.ts";

/** `picoclaw version`: which program this is and what it runs on; with --licenses what it is made of. */
export async function run({ host, flags }: Context): Promise<number> {
  const { runtime, platform } = host;
  if (flags.has("licenses")) {
    await host.stdout.write(await licensesShown(flags.has("json")));
    return 0;
  }
  await host.stdout.write(
    flags.has("json")
      ? jsonLine({ v: 1, type: "version", version: VERSION, runtime, platform })
      : `picoclaw ${VERSION} (${runtime}, ${platform})\n`,
  );
  return 0;
}

async function licensesShown(isJson: boolean): Promise<string> {
  const all = await licenses();
  if (!isJson) return licensesText(all);
  return all.map((one) => jsonLine({ v: 1, type: "license", ...one })).join("");
}

/** One part of the program that somebody else has written, or the program itself. */
interface Licensed {
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
async function licenses(): Promise<readonly Licensed[]> {
  if (typeof PICOCLAW_LICENSES === "string") {
    const { gunzipSync } = await import("node:zlib");
    const built: readonly Licensed[] = JSON.parse(
      gunzipSync(Buffer.from(PICOCLAW_LICENSES, "base64")).toString("utf8"),
    );
    return built;
  }
  const { withDependencies } = await import("../installed-packages.ts");
  const packages = await withDependencies(join(import.meta.dirname, "../../.."));
  return packages.map(({ name, version, license, text }) => {
    return { name, version, license, text: text || `https://spdx.org/licenses/${license}.html` };
  });
}

/** A list of all, and then each text. */
function licensesText(all: readonly Licensed[]): string {
  const widest = Math.max(...all.map((one) => titleOf(one).length));
  const list = all.map((one) => `${titleOf(one).padEnd(widest)}  ${one.license}`);
  const texts = all.map((one) => `${titleOf(one)}: ${one.license}\n\n${one.text}`);
  return `${[list.join("\n"), ...texts].join(`\n\n${"-".repeat(78)}\n\n`)}\n`;
}

function titleOf({ name, version }: Licensed): string {
  return version === "" ? name : `${name} ${version}`;
}
