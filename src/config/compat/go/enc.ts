import { join } from "node:path";
import { codeOf } from "../../../base/failure.ts";
import { readSecretBytes, readSecretFile } from "../../files.ts";
import type { SecretFault, Surroundings } from "../../files.ts";

/** The environment has the passphrase, the user's home the SSH key. */
export type EncSurroundings = Pick<Surroundings, "env" | "userHome">;

/** The systemd credential of the passphrase; the variable wins. */
const PASSPHRASE_CREDENTIAL = "picoclaw-key-passphrase";

const NO_PASSPHRASE = `is encrypted, and there is no passphrase: set PICOCLAW_KEY_PASSPHRASE or the systemd credential ${PASSPHRASE_CREDENTIAL} (LoadCredential=)`;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;

/**
 * The passphrase of `enc://` values: PICOCLAW_KEY_PASSPHRASE, or the credential
 * `picoclaw-key-passphrase`; undefined if there is neither.
 */
export function passphraseOf(env: Surroundings["env"]): string | SecretFault | undefined {
  const variable = env["PICOCLAW_KEY_PASSPHRASE"];
  if (variable) return variable;
  const folder = env["CREDENTIALS_DIRECTORY"];
  if (!folder) return undefined;
  try {
    return readSecretFile(join(folder, PASSPHRASE_CREDENTIAL)) || undefined;
  } catch (error) {
    // A service may have other credentials only.
    if (codeOf(error) === "ENOENT") return undefined;
    return { fault: `the credential ${PASSPHRASE_CREDENTIAL} cannot be read (${codeOf(error)})` };
  }
}

/** Decrypts the text after `enc://`, as Go PicoClaw encrypts it. */
export async function decrypted(
  encoded: string,
  surroundings: EncSurroundings,
): Promise<string | SecretFault> {
  const passphrase = passphraseOf(surroundings.env);
  if (passphrase === undefined) return { fault: NO_PASSPHRASE };
  if (typeof passphrase !== "string") return { fault: `is encrypted, and ${passphrase.fault}` };
  const base64 = encoded.replace(/[\r\n]/g, "");
  const blob = Buffer.from(base64, "base64");
  if (blob.toString("base64") !== base64 || blob.length < SALT_BYTES + NONCE_BYTES + TAG_BYTES) {
    return { fault: "is encrypted, but damaged: its base64 text is not complete" };
  }
  const crypto = await import("node:crypto");
  const material = keyMaterial(passphrase, surroundings, crypto);
  if (!Buffer.isBuffer(material)) return material;
  const salt = blob.subarray(0, SALT_BYTES);
  const nonce = blob.subarray(SALT_BYTES, SALT_BYTES + NONCE_BYTES);
  const key = keyOf(material, salt, crypto);
  const decipher = crypto.createDecipheriv("aes-256-gcm", key, nonce);
  decipher.setAuthTag(blob.subarray(-TAG_BYTES));
  try {
    const text = decipher.update(blob.subarray(SALT_BYTES + NONCE_BYTES, -TAG_BYTES));
    return Buffer.concat([text, decipher.final()]).toString("utf8");
  } catch {
    return { fault: "cannot be decrypted: the passphrase or the SSH key is wrong" };
  }
}

/**
 * Encrypts a secret to `enc://…` as Go PicoClaw does: base64 of salt, nonce, AES-256-GCM text and tag.
 * Each call gives another result.
 */
export async function sealed(
  secret: string,
  passphrase: string,
  surroundings: EncSurroundings,
): Promise<string | SecretFault> {
  const crypto = await import("node:crypto");
  const material = keyMaterial(passphrase, surroundings, crypto);
  if (!Buffer.isBuffer(material)) return material;
  const [salt, nonce] = [crypto.randomBytes(SALT_BYTES), crypto.randomBytes(NONCE_BYTES)];
  const cipher = crypto.createCipheriv("aes-256-gcm", keyOf(material, salt, crypto), nonce);
  const text = Buffer.concat([cipher.update(secret, "utf8"), cipher.final()]);
  return `enc://${Buffer.concat([salt, nonce, text, cipher.getAuthTag()]).toString("base64")}`;
}

type Crypto = typeof import("node:crypto");

function keyOf(material: Buffer, salt: Buffer, { hkdfSync }: Crypto): Buffer {
  return Buffer.from(hkdfSync("sha256", material, salt, "picoclaw-credential-v1", KEY_BYTES));
}

/** HMAC of the passphrase under the SSH key's digest, or the passphrase's digest without a key. */
function keyMaterial(
  passphrase: string,
  surroundings: EncSurroundings,
  { createHash, createHmac }: Crypto,
): Buffer | SecretFault {
  const digest = (data: string | Uint8Array): Buffer => createHash("sha256").update(data).digest();
  const { file, required } = sshKeyFile(surroundings);
  if (file === "") return digest(passphrase);
  try {
    return createHmac("sha256", digest(readSecretBytes(file)))
      .update(passphrase)
      .digest();
  } catch (error) {
    if (!required && codeOf(error) === "ENOENT") return digest(passphrase);
    return { fault: `is encrypted, and the SSH key ${file} cannot be read (${codeOf(error)})` };
  }
}

/** A variable that is set wins, even if it is empty: then no key is used. */
export function sshKeyFile({ env, userHome }: EncSurroundings): {
  file: string;
  required: boolean;
} {
  const file = env["PICOCLAW_SSH_KEY_PATH"];
  if (file !== undefined) return { file, required: true };
  return { file: join(userHome, ".ssh", "picoclaw_ed25519.key"), required: false };
}
