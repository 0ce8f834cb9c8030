import { dirname } from "node:path";
import { Failure } from "../../base/failure.ts";
import { resolveReference, type SecretSurroundings } from "../secrets.ts";
import { pathText } from "../tree.ts";
import type { PlacedText } from "../tree.ts";
import { type EncryptOptions, readSources, type SourceFile, writeTexts } from "./encrypt.ts";

/** What was done, or would be done, with an encrypted secret; never its value. */
export interface Decrypted {
  readonly file: string;
  readonly line: number;
  readonly key: string;
  readonly did: "decrypted" | "left";
  /** The reason why it was left. */
  readonly note?: string;
}

export type DecryptOptions = Omit<EncryptOptions, "to">;

const CONFIG_STAYS = "use --rewrite-config to change this file";

/**
 * Replaces each `enc://` value by its secret in plain text: in `.security.yml` and, if `rewriteConfig` is set, in
 * config.json. Everything else in the files stays. Nothing is written if one of them cannot be decrypted. Throws a
 * `Failure`.
 */
export async function decryptSecrets(options: DecryptOptions): Promise<readonly Decrypted[]> {
  const { env, userHome, file, dryRun } = options;
  const sources = await readSources(options);
  const isNeeded =
    !dryRun && sources.some((source) => source.mayWrite && encryptedIn(source).length > 0);
  const passphrase = isNeeded ? await options.passphrase() : "";
  const surroundings = {
    env: { ...env, PICOCLAW_KEY_PASSPHRASE: passphrase },
    userHome,
    folder: dirname(file),
  };
  const edits = new Map<SourceFile, ReadonlyMap<PlacedText, string>>();
  for (const source of isNeeded ? sources : []) {
    if (source.mayWrite) edits.set(source, await secretsOf(source, surroundings));
  }
  for (const secrets of edits.values()) options.learn([...secrets.values()]);
  for (const [source, secrets] of edits) {
    if (secrets.size > 0) await writeTexts(source, secrets);
  }
  return sources.flatMap((source) =>
    encryptedIn(source).map(({ line, path }): Decrypted => {
      const { file: at, mayWrite } = source;
      const key = pathText(path);
      if (mayWrite) return { file: at, line, key, did: "decrypted" };
      return { file: at, line, key, did: "left", note: CONFIG_STAYS };
    }),
  );
}

function encryptedIn({ texts }: SourceFile): readonly PlacedText[] {
  return texts.filter(({ text }) => text.startsWith("enc://"));
}

async function secretsOf(
  source: SourceFile,
  surroundings: SecretSurroundings,
): Promise<ReadonlyMap<PlacedText, string>> {
  const secrets = new Map<PlacedText, string>();
  for (const placed of encryptedIn(source)) {
    const { text, line, path } = placed;
    const secret = await resolveReference(text, surroundings);
    if (typeof secret !== "string") {
      throw new Failure("config", `${source.file}:${line}: ${pathText(path)} ${secret.fault}`, {
        why: "nothing was changed",
        remedy: "use the passphrase with which it was encrypted",
      });
    }
    secrets.set(placed, secret);
  }
  return secrets;
}
