import { join } from "node:path";
import { jsonLine } from "../../base/escape-control.ts";
import { VERSION } from "../../base/version.ts";
import type { Context } from "../context.ts";

/** `picoclaw version`: prints version, runtime and platform; with --licenses the licences of all parts. */
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

/** A package in the program, or the program itself. */
interface Licensed {
  readonly name: string;
  readonly version: string;
  /** An SPDX expression. */
  readonly license: string;
  readonly text: string;
}

/** Set only by `scripts/build.ts`: the licences in the binary, as JSON in gzip and base64. */
declare const PICOCLAW_LICENSES: string | undefined;

/**
 * The licences of the program and its packages, its own first. A binary contains them; from source they are
 * read from the installed packages.
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

/** A list of all licences, then their texts. */
function licensesText(all: readonly Licensed[]): string {
  const widest = Math.max(...all.map((one) => titleOf(one).length));
  const list = all.map((one) => `${titleOf(one).padEnd(widest)}  ${one.license}`);
  const texts = all.map((one) => `${titleOf(one)}: ${one.license}\n\n${one.text}`);
  return `${[list.join("\n"), ...texts].join(`\n\n${"-".repeat(78)}\n\n`)}\n`;
}

function titleOf({ name, version }: Licensed): string {
  return version === "" ? name : `${name} ${version}`;
}
