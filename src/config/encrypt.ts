import { dirname, join } from "node:path";
import { codeOf, Failure } from "../base/failure.ts";
import { sealed } from "./compat/go/enc.ts";
import { readText, SECURITY } from "./files.ts";
import { textsOfJson } from "./json.ts";
import { createPrivateFile, replaceFile } from "./replace-file.ts";
import { isSecretName } from "./secrets-in.ts";
import { resolveReference, isReference } from "./secrets.ts";
import type { SecretSurroundings } from "./secrets.ts";
import { pathText, PLACEHOLDER } from "./tree.ts";
import type { Path, PlacedText } from "./tree.ts";
import { textsOfYaml } from "./yaml.ts";

/** What became, or would become, of a secret that stood in a file in plain; never its value. */
export interface Encrypted {
  readonly file: string;
  readonly line: number;
  /** `model_list.gpt.api_keys[0]`. */
  readonly key: string;
  readonly did: "encrypted" | "moved" | "left";
  /** The file it was moved to, or why it was left. */
  readonly note?: string;
}

export interface EncryptOptions {
  /** config.json; `.security.yml` is beside it. */
  readonly file: string;
  readonly env: SecretSurroundings["env"];
  readonly userHome: string;
  readonly to: "enc" | "file";
  /** Whether config.json may be written, too. */
  readonly rewriteConfig: boolean;
  /** Nothing is written, and nobody asked for a passphrase. */
  readonly dryRun: boolean;
  /** Asked once, when something is to be encrypted; the word that decrypts what is encrypted already. */
  readonly passphrase: () => Promise<string>;
  /** Hears of every secret before anything is done with it. */
  readonly learn: (secrets: readonly string[]) => void;
}

/** One file with its secrets. */
interface Sheet {
  readonly file: string;
  readonly source: string;
  readonly read: typeof textsOfYaml;
  readonly texts: readonly PlacedText[];
  readonly secrets: readonly SecretText[];
  readonly mayWrite: boolean;
}

const CONFIG_STAYS = "move it to .security.yml, or say --rewrite-config";

/**
 * Puts references in the place of secrets that stand in plain in `.security.yml`, and in config.json
 * where that is asked for; all else in the files stays as it is, character by character. Each file
 * is written whole or not at all. Throws a `Failure`.
 */
export async function encryptSecrets(options: EncryptOptions): Promise<readonly Encrypted[]> {
  const sheets = await sheetsOf(options);
  options.learn(sheets.flatMap(({ secrets }) => secrets.map(({ text }) => text)));
  const isNeeded = options.to === "enc" && !options.dryRun && sheets.some(hasWork);
  const refer = isNeeded ? await sealing(options, sheets) : moving(options);
  const done: Encrypted[] = [];
  for (const sheet of sheets) done.push(...(await encryptSheet(sheet, refer, options)));
  return done;
}

async function sheetsOf({ file, rewriteConfig }: EncryptOptions): Promise<readonly Sheet[]> {
  const sheets: Sheet[] = [];
  for (const [path, read, mayWrite] of [
    [join(dirname(file), SECURITY), textsOfYaml, true],
    [file, textsOfJson, rewriteConfig],
  ] as const) {
    const source = await readText(path);
    if (source instanceof Failure) throw source;
    if (source === undefined) continue;
    const texts = await read(source, path);
    if (texts instanceof Failure) throw texts;
    sheets.push({ file: path, source, read, texts, secrets: secretTexts(texts), mayWrite });
  }
  return sheets;
}

function hasWork({ secrets, mayWrite }: Sheet): boolean {
  return mayWrite && secrets.some(({ stays }) => stays === undefined);
}

/** A reference to a secret, and what is told of it. */
type Refer = (
  secret: SecretText,
) => Promise<{ readonly reference?: string } & Pick<Encrypted, "did" | "note">>;

async function sealing(options: EncryptOptions, sheets: readonly Sheet[]): Promise<Refer> {
  const passphrase = await options.passphrase();
  const surroundings = surroundingsOf(options, passphrase);
  await checkPassphrase(sheets, surroundings);
  return async ({ text }) => {
    const reference = await sealed(text, passphrase, surroundings);
    if (typeof reference !== "string") throw new Failure("config", `a value ${reference.fault}`);
    return { reference, did: "encrypted" };
  };
}

function surroundingsOf(
  { env, userHome, file }: EncryptOptions,
  passphrase: string,
): SecretSurroundings {
  return {
    env: { ...env, PICOCLAW_KEY_PASSPHRASE: passphrase },
    userHome,
    folder: dirname(file),
  };
}

/** Values under two passphrases would never load together. */
async function checkPassphrase(
  sheets: readonly Sheet[],
  surroundings: SecretSurroundings,
): Promise<void> {
  for (const { file, texts } of sheets) {
    for (const { text, path, line } of texts) {
      if (!text.startsWith("enc://")) continue;
      const secret = await resolveReference(text, surroundings);
      if (typeof secret === "string") continue;
      throw new Failure("config", `${file}:${line}: ${pathText(path)} ${secret.fault}`, {
        why: "all encrypted values of a home need the same passphrase; nothing was changed",
        remedy:
          "give the passphrase of those that are encrypted, or put that secret in plain again",
      });
    }
  }
}

/** Each secret goes into a file of its own in `secrets`, beside config.json. */
function moving({ to, dryRun, file }: EncryptOptions): Refer {
  return async ({ text, path }) => {
    if (to === "enc") return { did: "encrypted" };
    if (text !== text.trim()) {
      return { did: "left", note: "it begins or ends with a blank, which a file would lose" };
    }
    const slug = pathText(path)
      .replaceAll(/[^\w.-]+/g, "-")
      .replaceAll(/^[-.]+|-+$/g, "");
    const name = join("secrets", slug.slice(0, 100));
    if (dryRun) return { did: "moved", note: name };
    const moved = await newFile(dirname(file), name, text);
    return { reference: `file://${moved}`, did: "moved", note: moved };
  };
}

/** A file is never overwritten: it may be somebody else's secret. */
async function newFile(folder: string, name: string, text: string): Promise<string> {
  for (let count = 1; ; count += 1) {
    const tried = count === 1 ? name : `${name}-${count}`;
    try {
      await createPrivateFile(join(folder, tried), `${text}\n`);
      return tried;
    } catch (error) {
      if (codeOf(error) !== "EEXIST" || count === 100) throw unwritable(join(folder, tried), error);
    }
  }
}

async function encryptSheet(
  sheet: Sheet,
  refer: Refer,
  { dryRun }: EncryptOptions,
): Promise<Encrypted[]> {
  const { file, secrets, mayWrite } = sheet;
  const done: Encrypted[] = [];
  const edits = new Map<PlacedText, string>();
  for (const secret of secrets) {
    const place = { file, line: secret.line, key: pathText(secret.path) };
    const note = secret.stays ?? (mayWrite ? undefined : CONFIG_STAYS);
    if (note === undefined) {
      const { reference, ...told } = await refer(secret);
      if (reference !== undefined) edits.set(secret, reference);
      done.push({ ...place, ...told });
    } else done.push({ ...place, did: "left", note });
  }
  if (edits.size > 0 && !dryRun) await write(sheet, edits);
  return done;
}

async function write(sheet: Sheet, edits: ReadonlyMap<PlacedText, string>): Promise<void> {
  const { file, source: former } = sheet;
  const text = await edited(sheet, edits);
  try {
    await replaceFile(file, { former, text });
  } catch (error) {
    throw unwritable(file, error);
  }
}

/** Checks what it made by reading it: all texts must be the same but for the references. */
async function edited(
  { file, source, read, texts }: Sheet,
  edits: ReadonlyMap<PlacedText, string>,
): Promise<string> {
  let text = source;
  const backwards = [...edits].toSorted(([left], [right]) => right.start - left.start);
  for (const [{ start, end }, reference] of backwards) {
    const written = source.slice(start, end);
    const plain = read === textsOfJson ? JSON.stringify(reference) : reference;
    const lineEnd = /\r?\n$/.exec(written)?.[0] ?? "";
    text = text.slice(0, start) + plain + lineEnd + text.slice(end);
  }
  const again = await read(text, file);
  const isRight =
    !(again instanceof Failure) &&
    again.length === texts.length &&
    texts.every((placed, index) => (edits.get(placed) ?? placed.text) === again[index]?.text);
  if (isRight) return text;
  throw new Failure(
    "failed",
    `${file} cannot be rewritten: it would not read back as it is meant`,
    {
      why: "it has a form that this command does not know; nothing was changed",
      remedy: "write one value a line, in quotes",
    },
  );
}

function unwritable(file: string, error: unknown): Failure {
  const why = error instanceof Error ? error.message : String(error);
  return new Failure("failed", `${file} cannot be written`, {
    why,
    remedy: WAYS_OUT[codeOf(error)] ?? "run it as the user that owns the file",
    cause: error,
  });
}

const WAYS_OUT: Readonly<Record<string, string>> = {
  CHANGED: "run it again",
  ENOSPC: "make room on that disk and run it again",
};

/** A secret in plain, and why it has to stay so; undefined where it can be replaced by a reference. */
interface SecretText extends PlacedText {
  readonly stays?: string;
}

/** The secrets among the texts of a file that stand in it in plain. */
function secretTexts(texts: readonly PlacedText[]): readonly SecretText[] {
  return texts.flatMap((placed): SecretText[] => {
    const { text, path } = placed;
    if (text.trim() === "" || text === PLACEHOLDER || isReference(text)) return [];
    if (isKept(path)) return [placed];
    const stays = reasonToStay(path, text);
    return stays === undefined ? [] : [{ ...placed, stays }];
  });
}

/** Keys whose values this program and Go PicoClaw read as references as well. */
function isKept(path: Path): boolean {
  const [root, name] = [path[0], nameOf(path)];
  if (name === "api_key" || name === "api_keys") {
    return ["model_list", "providers", "web", "tools"].includes(String(root));
  }
  return name === "password" && (root === "channel_list" || root === "channels");
}

function reasonToStay(path: Path, text: string): string | undefined {
  const name = nameOf(path);
  if (path.at(-2) === "custom_headers" && isSecretName(name)) {
    return "Go PicoClaw would send a reference as it is; write file:// or cred:// by hand";
  }
  if (URL.parse(text)?.password) {
    return "it is a password within a URL, which no reference can stand for";
  }
  return isSecretName(name) && isSecretPlace(path) ? "this program has no use for it" : undefined;
}

/** Where Go PicoClaw keeps secrets of what this program lacks. */
function isSecretPlace(path: Path): boolean {
  return ["channel_list", "channels", "skills", "voice"].includes(String(path[0]));
}

/** The key that a text stands under, itself or in a list. */
function nameOf(path: Path): string {
  return path.findLast((key) => typeof key === "string") ?? "";
}
