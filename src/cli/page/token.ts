import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, Failure } from "../../base/failure.ts";
import { writeAtomically } from "../../base/file-io.ts";
import type { Config } from "../../config/contract.ts";
import { createPrivateFile } from "../../config/edit/save-file.ts";
import { stateFolderOf } from "../state/state-folder.ts";

/** What opens all of the page. */
export interface PageToken {
  readonly read: () => Promise<string>;
  /** Where it is, for a person. */
  readonly place: string;
}

/**
 * The token of the configuration, or else of a file in the folder of the conversations: who may read those may read it. The file
 * is written when the token is asked for first.
 */
export function pageTokenOf(config: Config): PageToken {
  const { token } = config.gateway.page;
  const configured = token?.reveal();
  if (configured !== undefined) {
    return { read: () => Promise.resolve(configured), place: "the key gateway.page.token" };
  }
  const file = join(stateFolderOf(config), "page-token");
  let writing: Promise<string> | undefined;
  const write = (): Promise<string> => {
    writing ??= writeToken(file).finally(() => {
      writing = undefined;
    });
    return writing;
  };
  return { read: async () => (await readToken(file)) ?? (await write()), place: file };
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
  const text = `${token}\n`;
  try {
    try {
      await createPrivateFile(file, text);
    } catch (thrown) {
      if (codeOf(thrown) !== "EEXIST") throw thrown;
      // Another gateway of this home was faster, or a loss of power left an empty file.
      const other = await readToken(file);
      if (other !== undefined) return other;
      await writeAtomically(file, text);
    }
    return token;
  } catch (thrown) {
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
