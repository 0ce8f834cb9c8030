import type { InstalledPackage } from "../../src/cli/commands/version.ts";
import { readPages } from "../../src/cli/help/topics.ts";
import { noticesOf } from "./notices.ts";
import { pageFiles } from "./page.ts";

/** What a bundle holds beside its code: the manual, the licences of what is in it, and the page. */
export async function definesOf(
  root: string,
  packages: readonly InstalledPackage[],
  bun?: string,
): Promise<Record<string, string>> {
  return {
    PICOCLAW_PAGES: JSON.stringify(await readPages(root)),
    PICOCLAW_LICENSES: JSON.stringify(await noticesOf(packages, bun)),
    PICOCLAW_PAGE: JSON.stringify(await pageFiles()),
  };
}
