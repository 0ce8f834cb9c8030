import { dirname, join } from "node:path";
import { Failure } from "../../base/failure.ts";
import type { LoadedConfig } from "../contract.ts";
import { readText, SECURITY } from "../files.ts";
import { inspectConfig, loadConfig, type LoadOptions } from "../load.ts";
import { type Path, pathText } from "../tree.ts";
import { editJson, editYaml } from "./edit-text.ts";
import { saveFile } from "./save-file.ts";
import { formsOf } from "./set.ts";

/** A value to set in the files of the configuration. */
export interface Change {
  readonly path: Path;
  readonly value: unknown;
  /** What holds now; undefined if nothing is set. */
  readonly former?: unknown;
  /** Goes into .security.yml and is never shown. */
  readonly isSecret?: true;
}

/** A file as it will be. */
interface DraftFile {
  readonly file: string;
  /** Undefined if there is no file. */
  readonly former: string | undefined;
  readonly text: string;
  readonly changes: readonly Change[];
}

/** Changed files that are not written yet, and the configuration that they make. */
export interface Draft {
  readonly files: readonly DraftFile[];
  readonly loaded: LoadedConfig;
}

/**
 * Applies changes to the texts of config.json and .security.yml, and writes nothing. Comments and everything else
 * stay. Throws a `Failure` if the configuration has faults or would have some.
 */
export async function draftChanges(
  options: LoadOptions,
  changes: readonly Change[],
): Promise<Draft> {
  const before = await loadConfig(options);
  if (before instanceof Failure) throw before;
  const plain = changes.filter(({ isSecret }) => isSecret !== true);
  const secret = changes.filter(({ isSecret }) => isSecret === true);
  const texts = new Map<string, string>();
  const files: DraftFile[] = [];
  for (const [file, those] of [
    [before.file, plain],
    [join(dirname(before.file), SECURITY), secret],
  ] as const) {
    if (those.length === 0) continue;
    const former = readText(file);
    if (former instanceof Failure) throw former;
    // A secret belongs to an entry that the draft may have created.
    const inspected = await inspectConfig({ ...options, draft: texts });
    if (inspected instanceof Failure) throw inspected;
    let text = former;
    for (const { path, value, isSecret = false } of those) {
      const edit = { text, value, places: formsOf(path, inspected.tree, isSecret) };
      text = isSecret ? await editYaml(file, edit) : await editJson(edit);
    }
    texts.set(file, text ?? "");
    files.push({ file, former, text: text ?? "", changes: those });
  }
  const loaded = await loadConfig({ ...options, draft: texts });
  if (loaded instanceof Failure) throw wouldBeWrong(loaded);
  return { files, loaded };
}

function wouldBeWrong({ message, why }: Failure): Failure {
  return new Failure("usage", "the configuration would be wrong, so nothing was written", {
    why: [message, why].filter((text) => text !== undefined).join("\n"),
    remedy: "give other answers, or edit config.json by hand",
  });
}

/** The difference that a file would have, one value per line, without secrets. */
export function differenceOf({ file, former, changes }: DraftFile): string {
  const lines = changes.flatMap(({ path, value, former: old, isSecret }) => {
    const key = pathText(path);
    const shown = isSecret === true ? '"***"' : JSON.stringify(value);
    const removed = old === undefined ? [] : [`- ${key}: ${JSON.stringify(old)}`];
    return [...removed, `+ ${key}: ${shown}`];
  });
  return [`${file}${former === undefined ? " (new)" : ""}`, ...lines, ""].join("\n");
}

/**
 * Writes the files, .security.yml first, after a copy of each that exists. Only the owner can read new files and
 * copies. Returns the names of the copies. Throws a `Failure`.
 */
export async function writeDraft({ files }: Draft, now: Date): Promise<readonly string[]> {
  const stamp = now.toISOString().replaceAll(/[-:]/g, "").replace(".", "-");
  const copies: string[] = [];
  for (const { file, former, text } of files.toReversed()) {
    if (former !== undefined) {
      const copy = `${file}.backup-${stamp}`;
      await saveFile(copy, { former: undefined, text: former });
      copies.push(copy);
    }
    await saveFile(file, { former, text, keepsMode: !file.endsWith(SECURITY) });
  }
  return copies;
}
