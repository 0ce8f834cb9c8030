import { join } from "node:path";
import { byName, readPackage } from "../../src/cli/commands/version.ts";
import type { InstalledPackage } from "../../src/cli/commands/version.ts";
import { isAllowed } from "./policy.ts";
import { usualText } from "./runtime.ts";

/** What Bun writes with --metafile, as far as it is used here. */
export interface Metafile {
  readonly outputs: Readonly<
    Record<
      string,
      { readonly inputs: Readonly<Record<string, { readonly bytesInOutput: number }>> }
    >
  >;
}

/** The packages in a program: those of its bundle, and the one of which only the browser gets code. */
export async function shippedPackages(
  metafile: Metafile,
  root: string,
): Promise<readonly InstalledPackage[]> {
  const inBrowser = await readPackage(join(root, "node_modules/uplot"));
  return [...(await bundledPackages(metafile, root)), inBrowser].toSorted(byName);
}

/** The packages of which there is code in a bundle; paths of the metafile are relative to `root`. */
async function bundledPackages(
  { outputs }: Metafile,
  root: string,
): Promise<readonly InstalledPackage[]> {
  const folders = Object.values(outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).flatMap(([path, { bytesInOutput }]) => {
      const folder = /^.*\bnode_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0];
      return folder === undefined || bytesInOutput === 0 ? [] : [folder];
    }),
  );
  const packages = await Promise.all(
    [...new Set(folders)].map((folder) => readPackage(join(root, folder))),
  );
  return packages.toSorted(byName);
}

/** The packages with a text each; throws a sentence for those whose licence must not be in the binary. */
export async function lawful(
  packages: readonly InstalledPackage[],
): Promise<readonly InstalledPackage[]> {
  const wrong = packages.filter(({ license }) => !isAllowed(license));
  if (wrong.length > 0) {
    const named = wrong.map(
      ({ name, version, license }) => `${name} ${version} (${license || "none"})`,
    );
    throw new Error(
      `packages whose licence is not on the list in scripts/bundle/policy.ts: ${named.join(", ")}`,
    );
  }
  return Promise.all(
    packages.map(async (each) => {
      const text = each.text === "" ? await usualText(each.license) : each.text;
      if (text !== undefined) return { ...each, text };
      throw new Error(
        `${each.name} ${each.version} holds no text of its licence: put ${each.license}.txt into scripts/licenses`,
      );
    }),
  );
}
