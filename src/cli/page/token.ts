import { randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { codeOf, Failure } from "../../base/failure.ts";
import type { Config } from "../../config/contract.ts";
import { stateFolderOf } from "../state/state-folder.ts";

/** What opens all of the page. */
export interface PageToken {
  readonly read: () => Promise<string>;
  /** Where it is, for a person. */
  readonly place: string;
}

/**
 * The token of the configuration, or else of a file beside the conversations: who may read those may read it. The file
 * is written when the token is asked for first.
 */
export function pageTokenOf(config: Config): PageToken {
  const { token } = config.gateway.page;
  const configured = token?.reveal();
  if (configured !== undefined) {
    return { read: () => Promise.resolve(configured), place: "the key gateway.page.token" };
  }
  const file = join(stateFolderOf(config), "page-token");
  return { read: async () => (await readToken(file)) ?? (await writeToken(file)), place: file };
}

async function readToken(file: string): Promise<string | undefined> {
  try {
    const text = (await readFile(file, "utf8")).trim();
    return text === "" ? undefined : text;
  } catch (thrown) {
    if (codeOf(thrown) === "ENOENT") return undefined;
    throw unusable(file, thrown);
  }
}

async function writeToken(file: string): Promise<string> {
  const token = randomBytes(18).toString("base64url");
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(file, `${token}\n`, { flag: "wx", mode: 0o600 });
    return token;
  } catch (thrown) {
    // Another request was faster.
    const other = codeOf(thrown) === "EEXIST" ? await readToken(file) : undefined;
    if (other !== undefined) return other;
    throw unusable(file, thrown);
  }
}

function unusable(file: string, cause: unknown): Failure {
  const why = cause instanceof Error ? cause.message : undefined;
  return new Failure("failed", `the token of the page cannot be read or written: ${file}`, {
    why,
    remedy: "set gateway.page.token in .security.yml",
    cause,
  });
}
