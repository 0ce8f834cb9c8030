import { dirname, join } from "node:path";
import { codeOf, Failure } from "../../base/failure.ts";
import { sealed } from "../compat/go/enc.ts";
import { readText, SECURITY } from "../files.ts";
import { textsOfJson } from "../json.ts";
import { isReference, isSecretName, isTableSecret, resolveReference } from "../secrets.ts";
import type { SecretSurroundings } from "../secrets.ts";
import { storeCredentials } from "../store/store-url.ts";
import { pathText, PLACEHOLDER } from "../tree.ts";
import type { Path, PlacedText } from "../tree.ts";
import { textsOfYaml } from "../yaml.ts";
import { createPrivateFile, saveFile, unwritable } from "./save-file.ts";

/** What was done, or would be done, with a secret in plain text; never its value. */
export interface Encrypted {
  readonly file: string;
  readonly line: number;
  /** `model_list.gpt.api_keys[0]`. */
  readonly key: string;
  readonly did: "encrypted" | "moved" | "left";
  /** The file it was moved to, or the reason why it was left. */
  readonly note?: string;
}

export interface EncryptOptions {
  /** config.json; `.security.yml` is in the same folder. */
  readonly file: string;
  readonly env: SecretSurroundings["env"];
  readonly userHome: string;
  readonly to: "enc" | "file";
  /** Whether config.json may be written too. */
  readonly rewriteConfig: boolean;
  /** Write nothing and ask for no passphrase. */
  readonly dryRun: boolean;
  /** Called once, if a secret is to be encrypted. It must also decrypt the existing `enc://` values. */
  readonly passphrase: () => Promise<string>;
  /** Called with all secrets before anything is done. */
  readonly learn: (secrets: readonly string[]) => void;
}

/** A file with its secrets. */
export interface SourceFile {
  readonly file: string;
  readonly content: string;
  readonly read: typeof textsOfYaml;
  readonly texts: readonly PlacedText[];
  readonly secrets: readonly SecretText[];
  readonly mayWrite: boolean;
}

const CONFIG_STAYS = "move it to .security.yml, or use --rewrite-config";

/**
 * Replaces secrets in plain text by references, in `.security.yml` and, if `rewriteConfig` is set, in
 * config.json. Everything else in the files stays, character by character. Each file is written
 * completely or not at all. Throws a `Failure`.
 */
export async function encryptSecrets(options: EncryptOptions): Promise<readonly Encrypted[]> {
  const sources = await readSources(options);
  options.learn(sources.flatMap(({ secrets }) => secrets.map(({ text }) => text)));
  const isNeeded = options.to === "enc" && !options.dryRun && sources.some(hasWork);
  const refer = isNeeded ? await sealing(options, sources) : moving(options);
  const done: Encrypted[] = [];
  for (const source of sources) done.push(...(await encryptSource(source, refer, options)));
  return done;
}

export async function readSources({
  file,
  rewriteConfig,
}: Pick<EncryptOptions, "file" | "rewriteConfig">): Promise<readonly SourceFile[]> {
  const sources: SourceFile[] = [];
  for (const [path, read, mayWrite] of [
    [join(dirname(file), SECURITY), textsOfYaml, true],
    [file, textsOfJson, rewriteConfig],
  ] as const) {
    const content = readText(path);
    if (content instanceof Failure) throw content;
    if (content === undefined) continue;
    const texts = await read(content, path);
    if (texts instanceof Failure) throw texts;
    sources.push({ file: path, content, read, texts, secrets: secretTexts(texts), mayWrite });
  }
  return sources;
}

function hasWork({ secrets, mayWrite }: SourceFile): boolean {
  return mayWrite && secrets.some(({ stays }) => stays === undefined);
}

/** A secret in plain text. `stays` is the reason why no reference can replace it. */
interface SecretText extends PlacedText {
  readonly stays?: string;
}

/** The secrets in plain text among the texts of a file. */
function secretTexts(texts: readonly PlacedText[]): readonly SecretText[] {
  return texts.flatMap((placed): SecretText[] => {
    const { text, path } = placed;
    if (text.trim() === "" || text === PLACEHOLDER || isReference(text)) return [];
    if (isReferable(path)) return [placed];
    const stays = reasonToStay(path, text);
    return stays === undefined ? [] : [{ ...placed, stays }];
  });
}

/** Keys in which both this program and Go PicoClaw read references. */
function isReferable(path: Path): boolean {
  const [root, name] = [path[0], nameOf(path)];
  if (name === "api_key" || name === "api_keys") {
    return ["model_list", "providers", "web", "tools"].includes(String(root));
  }
  // Go PicoClaw has no such keys.
  if (path.at(-2) === "auth" && path[1] === "mcp") {
    return name === "client_secret" || name === "private_key";
  }
  if (root === "gateway") {
    return name === "store_password" || name === "token" || path.at(-2) === "tokens";
  }
  return name === "password" && (root === "channel_list" || root === "channels");
}

function reasonToStay(path: Path, text: string): string | undefined {
  const name = nameOf(path);
  const table = path.at(-2);
  const isOfServer = path[1] === "mcp" && (table === "env" || table === "headers");
  if ((isOfServer || table === "custom_headers") && isTableSecret(table, name, text)) {
    return "Go PicoClaw would send a reference as it is; write file:// or cred:// yourself";
  }
  if (URL.parse(text)?.password || storeCredentials(text).password) {
    return "it is a password in a URL, which no reference can replace";
  }
  return isSecretName(name) && isSecretPlace(path) ? "this program does not use it" : undefined;
}

/** Where Go PicoClaw stores secrets of features that this program does not have. */
function isSecretPlace(path: Path): boolean {
  return ["channel_list", "channels", "skills", "voice"].includes(String(path[0]));
}

/** The key of a text, or of the list that holds it. */
function nameOf(path: Path): string {
  return path.findLast((key) => typeof key === "string") ?? "";
}

/** Creates a reference to a secret, and reports what was done. */
type Refer = (
  secret: SecretText,
) => Promise<{ readonly reference?: string } & Pick<Encrypted, "did" | "note">>;

async function sealing(options: EncryptOptions, sources: readonly SourceFile[]): Promise<Refer> {
  const passphrase = await options.passphrase();
  const { userHome, file } = options;
  const env = { ...options.env, PICOCLAW_KEY_PASSPHRASE: passphrase };
  const surroundings = { env, userHome, folder: dirname(file) };
  await checkPassphrase(sources, surroundings);
  return async ({ text }) => {
    const reference = await sealed(text, passphrase, surroundings);
    if (typeof reference !== "string") throw new Failure("config", `a value ${reference.fault}`);
    return { reference, did: "encrypted" };
  };
}

/** All values need the same passphrase to load. */
async function checkPassphrase(
  sources: readonly SourceFile[],
  surroundings: SecretSurroundings,
): Promise<void> {
  for (const { file, texts } of sources) {
    for (const { text, path, line } of texts) {
      if (!text.startsWith("enc://")) continue;
      const secret = await resolveReference(text, surroundings);
      if (typeof secret === "string") continue;
      throw new Failure("config", `${file}:${line}: ${pathText(path)} ${secret.fault}`, {
        why: "all encrypted values of a home need the same passphrase; nothing was changed",
        remedy:
          "use the passphrase of the existing encrypted values, or write this secret in plain text again",
      });
    }
  }
}

/** Moves each secret to its own file in the folder `secrets` next to config.json. */
function moving({ to, dryRun, file }: EncryptOptions): Refer {
  return async ({ text, path }) => {
    if (to === "enc") return { did: "encrypted" };
    if (text !== text.trim()) {
      return { did: "left", note: "it begins or ends with a blank, which would be lost in a file" };
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

/** Never overwrites a file, which may hold another secret. */
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

async function encryptSource(
  source: SourceFile,
  refer: Refer,
  { dryRun }: EncryptOptions,
): Promise<Encrypted[]> {
  const { file, secrets, mayWrite } = source;
  const done: Encrypted[] = [];
  const edits = new Map<PlacedText, string>();
  for (const secret of secrets) {
    const place = { file, line: secret.line, key: pathText(secret.path) };
    const note = secret.stays ?? (mayWrite ? undefined : CONFIG_STAYS);
    if (note === undefined) {
      const { reference, ...result } = await refer(secret);
      if (reference !== undefined) edits.set(secret, reference);
      done.push({ ...place, ...result });
    } else done.push({ ...place, did: "left", note });
  }
  if (edits.size > 0 && !dryRun) await writeTexts(source, edits);
  return done;
}

/** Replaces texts of a file, which only its owner can read then. */
export async function writeTexts(
  source: SourceFile,
  edits: ReadonlyMap<PlacedText, string>,
): Promise<void> {
  const { file, content: former } = source;
  const text = await edited(source, edits);
  await saveFile(file, { former, text });
}

/** The edited text. Reads it back to check that only the secrets have changed. */
async function edited(
  { file, content, read, texts }: SourceFile,
  edits: ReadonlyMap<PlacedText, string>,
): Promise<string> {
  let text = content;
  const backwards = [...edits].toSorted(([left], [right]) => right.start - left.start);
  for (const [{ start, end }, reference] of backwards) {
    const written = content.slice(start, end);
    // A reference is a plain word of YAML; quotes of JSON are quotes of YAML, too.
    const isWord = read !== textsOfJson && isReference(reference);
    const plain = isWord ? reference : JSON.stringify(reference);
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
    `${file} cannot be rewritten: the result would not read back correctly`,
    {
      why: "the file has a form that this command does not support; nothing was changed",
      remedy: "write one value per line, in quotes",
    },
  );
}
