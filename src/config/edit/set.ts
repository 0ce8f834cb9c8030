import { dirname, join } from "node:path";
import { Failure } from "../../base/failure.ts";
import { readText, SECURITY } from "../files.ts";
import { lineOf, locationOf, problemLines } from "../findings.ts";
import type { Problem } from "../findings.ts";
import { treeOfJson } from "../json.ts";
import type { Key } from "../keys/key.ts";
import { type Inspection, inspectConfig, type LoadOptions } from "../load.ts";
import { isReference, urlSecrets } from "../secrets.ts";
import { isSecretPlace, nodeAt, placeNamed, settingsAt } from "../settings.ts";
import type { Place, Setting } from "../settings.ts";
import { childOf, DEFAULT, leaf, pathText, textAt } from "../tree.ts";
import type { Branch, Path, Tree } from "../tree.ts";
import { jsonOf } from "../values.ts";
import { editJson, editYaml } from "./edit-text.ts";
import { saveFile } from "./save-file.ts";

export interface SetOptions extends LoadOptions {
  /** As a person writes it: `gateway.port`. */
  readonly key: string;
  /** The value that was typed. */
  readonly written: string | undefined;
  /** Asks for a secret, which is never typed on the command line. */
  readonly askSecret: (key: string) => Promise<string>;
  readonly dryRun: boolean;
}

export interface SetResult {
  readonly file: string;
  readonly settings: readonly Setting[];
  /** What users should know: another layer that wins, a secret that stays elsewhere. */
  readonly notes: readonly string[];
}

/**
 * Sets one value: in .security.yml if it is a secret, else in config.json. The rest of the file stays. Nothing is
 * written if the configuration would have a fault that it does not have now. Throws a `Failure`.
 */
export async function setValue(options: SetOptions): Promise<SetResult> {
  const before = await inspectConfig(options);
  if (before instanceof Failure) throw before;
  const place = placeNamed(options.key, before.tree);
  if (place instanceof Failure) throw place;
  const isSecret = isSecretPlace(place);
  const written = await writtenOf(place, isSecret, options);
  const value = isSecret ? secretValue(place, written) : await valueOf(place, written);
  const file = isSecret ? join(dirname(before.file), SECURITY) : before.file;
  const former = readText(file);
  if (former instanceof Failure) throw former;
  const edit = { text: former, value, places: formsOf(place.path, before.tree, isSecret) };
  const text = isSecret ? await editYaml(file, edit) : await editJson(edit);
  const after = await inspectConfig({ ...options, draft: new Map([[file, text]]) });
  if (after instanceof Failure) throw after;
  const settings = settingsOf(after, place);
  // systemd gives credentials to its services alone.
  const isCredential = isSecret && written.startsWith("cred://");
  const key = pathText(place.path);
  const problems = after.problems.filter((one) => !isCredential || pathText(one.path) !== key);
  refuseFaults(before, { ...after, problems }, settings, { file, isSecret });
  if (!options.dryRun) await saveFile(file, { former, text, keepsMode: !isSecret });
  const notes = [...notesOf(after, place, file), ...newWarnings(before, after, key)];
  return { file, settings, notes };
}

async function writtenOf(
  { path, row }: Place,
  isSecret: boolean,
  { key, written, askSecret }: SetOptions,
): Promise<string> {
  if (!isSecret) {
    if (written === undefined) {
      throw new Failure("usage", `config set ${key}: a value is missing`, {
        why: row.kind === "key" ? `${pathText(path)}: ${row.doc}` : undefined,
      });
    }
    if (urlSecrets(written).some((secret) => secret !== "")) {
      throw new Failure("usage", `config set ${key}: the URL holds a password`, {
        why: "every user of this machine can read the command line",
        remedy: "leave it out of the URL, and set the key of the password by itself",
      });
    }
    return written;
  }
  if (written === undefined) return askSecret(key);
  if (isReference(written)) return written;
  throw new Failure("usage", `config set ${key}: a secret is not taken from the command line`, {
    why: "every user of this machine can read the command line",
    remedy: `picoclaw config set ${key}, which asks for it, or reads it from a pipe`,
  });
}

/** A list of keys has one key. */
function secretValue({ row, isInside }: Place, written: string): unknown {
  const isList = row.kind === "key" && row.schema?.["anyOf"] !== undefined;
  return isList && !isInside ? [written] : written;
}

/** The value as JSON: as it is written if the place accepts that, else as text. Throws a usage `Failure`. */
async function valueOf(place: Place, written: string): Promise<unknown> {
  const read = await treeOfJson(`{"value": ${written}\n}`, "the value");
  // What closes the value early and begins another key is text.
  const isOne = !(read instanceof Failure) && read.tree.entries.size === 1;
  const found = isOne ? read.tree.entries.get("value") : undefined;
  const json = found?.kind === "leaf" && typeof found.value === "string" ? undefined : found;
  if (place.isInside) return json === undefined ? written : jsonOf(json);
  if (place.row.kind === "key") {
    return valueOfKey(place.row, place.path, [...(json ? [json] : []), leaf(written, DEFAULT)]);
  }
  return valueOfKeys(place, json);
}

/** The object or the array of a place that holds keys or a list. */
function valueOfKeys({ path, row }: Place, json: Tree | undefined): unknown {
  const isList = row.kind === "list";
  if (json?.kind === (isList ? "list" : "branch")) return jsonOf(json);
  const key = pathText(path);
  const holds = isList
    ? "a list: the value must be a JSON array"
    : "keys: the value must be a JSON object";
  throw new Failure("usage", `${key} holds ${holds}`, {
    remedy: `picoclaw config show ${key} lists ${isList ? "its entries" : "its keys"}`,
  });
}

/** The first candidate that the key accepts. */
function valueOfKey(row: Key, path: Path, candidates: readonly Tree[]): unknown {
  const problems: Problem[] = [];
  for (const candidate of candidates) {
    const found = row.read(candidate, path, (at, text) =>
      problems.push({ origin: DEFAULT, path: at, text }),
    );
    if (found !== undefined) return jsonOf(candidate);
  }
  const [first] = problems;
  throw new Failure("usage", first ? lineOf(first) : `${pathText(path)} cannot be that`, {
    why: row.doc,
  });
}

/** The forms in which files of all versions have a place. */
export function formsOf(path: Path, tree: Branch, isSecret: boolean): readonly Path[] {
  const [root, name = "", third, ...rest] = path;
  if (root === "channel_list" && third === "settings") {
    return ["channel_list", "channels"].flatMap((list) => [
      [list, name, "settings", ...rest],
      [list, name, ...rest],
    ]);
  }
  if (root === "channel_list") return [path, ["channels", ...path.slice(1)]];
  if (pathText(path) === "agents.defaults.model_name")
    return [path, ["agents", "defaults", "model"]];
  if (!isSecret) return [path];
  if (root === "tools" && name === "web") return [path.slice(1), path];
  return root === "model_list" ? formsOfModel(path, tree) : [path];
}

/** In .security.yml models have their names, and `name:1` is the second of a name. */
function formsOfModel([, index = 0, ...rest]: Path, tree: Branch): readonly Path[] {
  const models = childOf(tree, "model_list");
  const items = models?.kind === "list" ? models.items : [];
  const name = textAt(items[Number(index)], "model_name");
  const same = [...items.entries()].filter(([, item]) => textAt(item, "model_name") === name);
  const numbered = `${name}:${same.findIndex(([at]) => at === index)}`;
  const words = same.length > 1 ? [numbered] : [name, numbered];
  return words.map((word): Path => (["model_list", word] as Path).concat(rest));
}

function settingsOf({ tree }: Inspection, place: Place): readonly Setting[] {
  const path = place.isInside ? place.path.slice(0, -1) : place.path;
  return settingsAt(tree, { ...place, path });
}

interface Target {
  readonly file: string;
  readonly isSecret: boolean;
}

/** What the value is warned of that was not warned of before. */
function newWarnings(before: Inspection, after: Inspection, key: string): readonly string[] {
  const known = new Set(before.warnings.map(({ message }) => withoutLine(message)));
  const added = after.warnings.filter(
    ({ message }) => message.includes(` ${key}`) && !known.has(withoutLine(message)),
  );
  return added.map(({ message, remedy }) => (remedy ? `${message}; ${remedy}` : message));
}

/** Refuses what would make the configuration worse. */
function refuseFaults(
  before: Inspection,
  after: Inspection,
  settings: readonly Setting[],
  { file, isSecret }: Target,
): void {
  const known = new Set([
    ...before.problems.map(withoutPlace),
    ...before.warnings.map(({ message }) => withoutLine(message)),
  ]);
  const added = after.problems.filter((problem) => !known.has(withoutPlace(problem)));
  const lines = problemLines(added);
  const unknown = after.warnings.flatMap(({ message }) => {
    const isNew = / is not a known key /.test(message) && !known.has(withoutLine(message));
    return isNew ? [message] : [];
  });
  const all = [...lines, ...unknown];
  if (all.length > 0) {
    throw new Failure("usage", "the configuration would be wrong, so nothing was written", {
      why: all.join("\n"),
      remedy: "set what it names before, or write a JSON object with all keys at once",
    });
  }
  const secret = settings.find(
    ({ value, origin }) =>
      JSON.stringify(value)?.includes('"***"') && origin.from === "file" && origin.file === file,
  );
  if (isSecret || secret === undefined) return;
  throw new Failure("usage", `the value holds a secret, ${secret.key}; nothing was written`, {
    why: "every user of this machine can read the command line",
    remedy: "leave it out, and set it by itself: picoclaw config set asks for secrets",
  });
}

function withoutPlace({ path, text }: Problem): string {
  return `${pathText(path)}: ${text}`;
}

function withoutLine(message: string): string {
  return message.replace(/:\d+: /, ": ");
}

function notesOf({ tree }: Inspection, { path }: Place, file: string): readonly string[] {
  const origin = nodeAt(tree, path)?.origin ?? nodeAt(tree, path.slice(0, -1))?.origin;
  if (origin === undefined || origin.from === "default") return [];
  if (origin.from === "file" && origin.file === file) return [];
  return [`${locationOf(origin)} has another value of ${pathText(path)}, which wins`];
}
