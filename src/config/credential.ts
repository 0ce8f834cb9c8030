import { realpath } from "node:fs/promises";
import { isAbsolute, join, relative, sep } from "node:path";
import { codeOf, readRegularFile } from "./files.ts";

export interface CredentialSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly userHome: string;
  /** The folder of config.json, in which `file://` stays. */
  readonly folder: string;
}

/** The file beside config.json that a reference leads to, and the key that `enc://` needs beside the passphrase. */
export function fileOf(text: string, surroundings: CredentialSurroundings): string | undefined {
  if (text.startsWith("file://")) return join(surroundings.folder, text.slice(7).trim());
  return text.startsWith("enc://") ? sshKeyFile(surroundings).file || undefined : undefined;
}

/** Why a reference leads to no secret; never quotes the reference or what it leads to. */
export interface CredentialFault {
  readonly fault: string;
}

/** The credential that the passphrase may be, where no variable holds it. */
const PASSPHRASE_CREDENTIAL = "picoclaw-key-passphrase";

/** Bytes; a key that is longer is no key. */
const MAX_BYTES = 65_536;
const NO_PASSPHRASE = `is encrypted, and PICOCLAW_KEY_PASSPHRASE is not set, nor is there a systemd credential ${PASSPHRASE_CREDENTIAL} (LoadCredential=)`;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;

/**
 * The secret that a text stands for: `file://name` is a file beside config.json, `cred://name` a
 * credential of the systemd service, `enc://…` is decrypted as Go PicoClaw encrypts, any other text is
 * the secret itself.
 */
export async function resolveCredential(
  text: string,
  surroundings: CredentialSurroundings,
): Promise<string | CredentialFault> {
  if (text.startsWith("file://")) return fileCredential(text.slice(7).trim(), surroundings.folder);
  if (text.startsWith("cred://")) return systemCredential(text.slice(7).trim(), surroundings.env);
  if (text.startsWith("enc://")) return decrypted(text.slice(6), surroundings);
  return text;
}

/** Whether a text stands for a secret, and is none itself. */
export function isReference(text: string): boolean {
  return /^(?:file|cred|enc):\/\//.test(text);
}

/** Symbolic links are followed before it is checked that the file lies inside the folder. */
async function fileCredential(name: string, folder: string): Promise<string | CredentialFault> {
  if (name === "") return { fault: "names no file after file://" };
  try {
    const base = await realpath(folder);
    const file = await realpath(join(base, name));
    const path = relative(base, file);
    if (isAbsolute(path) || path === ".." || path.startsWith(`..${sep}`)) {
      return { fault: "names a file outside of the folder of config.json" };
    }
    const secret = await textOf(file);
    return secret === "" ? { fault: "names a file that is empty" } : secret;
  } catch (error) {
    return { fault: `names a file that cannot be read (${codeOf(error)})` };
  }
}

/**
 * What systemd keeps for this service alone (systemd.exec(5), LoadCredential=): a file in the folder that
 * CREDENTIALS_DIRECTORY names.
 */
async function systemCredential(
  name: string,
  env: CredentialSurroundings["env"],
): Promise<string | CredentialFault> {
  if (!isCredentialName(name))
    return { fault: "names no credential: one word without / is wanted" };
  const folder = env["CREDENTIALS_DIRECTORY"];
  const remedy = `LoadCredential=${name}:/path/of/the/file in the [Service] section of its unit`;
  if (!folder) return { fault: `is a credential, and CREDENTIALS_DIRECTORY is not set: ${remedy}` };
  try {
    const secret = await textOf(join(folder, name));
    return secret === "" ? { fault: `names the credential ${name}, which is empty` } : secret;
  } catch (error) {
    const code = codeOf(error);
    return { fault: `names the credential ${name}, which cannot be read (${code}): ${remedy}` };
  }
}

async function textOf(file: string): Promise<string> {
  return new TextDecoder().decode(await readRegularFile(file, MAX_BYTES)).trim();
}

/** As systemd takes them: at most 255 characters, no path. */
function isCredentialName(name: string): boolean {
  return /^[!-.0-~]{1,255}$/.test(name) && name !== "." && name !== "..";
}

/**
 * The passphrase of `enc://` values: PICOCLAW_KEY_PASSPHRASE, or the credential
 * `picoclaw-key-passphrase`; undefined where there is neither.
 */
export async function passphraseOf(
  env: CredentialSurroundings["env"],
): Promise<string | CredentialFault | undefined> {
  const variable = env["PICOCLAW_KEY_PASSPHRASE"];
  if (variable) return variable;
  const folder = env["CREDENTIALS_DIRECTORY"];
  if (!folder) return undefined;
  try {
    return (await textOf(join(folder, PASSPHRASE_CREDENTIAL))) || undefined;
  } catch (error) {
    // A service that was given other credentials alone has none of this name.
    if (codeOf(error) === "ENOENT") return undefined;
    return { fault: `the credential ${PASSPHRASE_CREDENTIAL} cannot be read (${codeOf(error)})` };
  }
}

async function decrypted(
  encoded: string,
  surroundings: CredentialSurroundings,
): Promise<string | CredentialFault> {
  const passphrase = await passphraseOf(surroundings.env);
  if (passphrase === undefined) return { fault: NO_PASSPHRASE };
  if (typeof passphrase !== "string") return { fault: `is encrypted, and ${passphrase.fault}` };
  const base64 = encoded.replace(/[\r\n]/g, "");
  const blob = Buffer.from(base64, "base64");
  if (blob.toString("base64") !== base64 || blob.length < SALT_BYTES + NONCE_BYTES + TAG_BYTES) {
    return { fault: "is encrypted, but damaged: it is not the whole base64 text" };
  }
  const material = await keyMaterial(passphrase, surroundings);
  if (!Buffer.isBuffer(material)) return material;
  const { createDecipheriv } = await import("node:crypto");
  const salt = blob.subarray(0, SALT_BYTES);
  const nonce = blob.subarray(SALT_BYTES, SALT_BYTES + NONCE_BYTES);
  const decipher = createDecipheriv("aes-256-gcm", await keyOf(material, salt), nonce);
  decipher.setAuthTag(blob.subarray(-TAG_BYTES));
  try {
    const text = decipher.update(blob.subarray(SALT_BYTES + NONCE_BYTES, -TAG_BYTES));
    return Buffer.concat([text, decipher.final()]).toString("utf8");
  } catch {
    return { fault: "cannot be decrypted: the passphrase or the SSH key is another one" };
  }
}

/**
 * A secret as `enc://…`, as Go PicoClaw encrypts: base64 of salt, nonce, AES-256-GCM text and tag. Each
 * call makes another one.
 */
export async function sealed(
  secret: string,
  passphrase: string,
  surroundings: CredentialSurroundings,
): Promise<string | CredentialFault> {
  const material = await keyMaterial(passphrase, surroundings);
  if (!Buffer.isBuffer(material)) return material;
  const { createCipheriv, randomBytes } = await import("node:crypto");
  const [salt, nonce] = [randomBytes(SALT_BYTES), randomBytes(NONCE_BYTES)];
  const cipher = createCipheriv("aes-256-gcm", await keyOf(material, salt), nonce);
  const text = Buffer.concat([cipher.update(secret, "utf8"), cipher.final()]);
  return `enc://${Buffer.concat([salt, nonce, text, cipher.getAuthTag()]).toString("base64")}`;
}

async function keyOf(material: Buffer, salt: Buffer): Promise<Buffer> {
  const { hkdfSync } = await import("node:crypto");
  return Buffer.from(hkdfSync("sha256", material, salt, "picoclaw-credential-v1", KEY_BYTES));
}

/** HMAC of the passphrase under the SSH key's digest, or the passphrase's digest without a key. */
async function keyMaterial(
  passphrase: string,
  surroundings: CredentialSurroundings,
): Promise<Buffer | CredentialFault> {
  const { createHash, createHmac } = await import("node:crypto");
  const digest = (data: string | Uint8Array): Buffer => createHash("sha256").update(data).digest();
  const { file, required } = sshKeyFile(surroundings);
  if (file === "") return digest(passphrase);
  try {
    return createHmac("sha256", digest(await readRegularFile(file, MAX_BYTES)))
      .update(passphrase)
      .digest();
  } catch (error) {
    if (!required && codeOf(error) === "ENOENT") return digest(passphrase);
    return { fault: `is encrypted, and the SSH key ${file} cannot be read (${codeOf(error)})` };
  }
}

/** The variable counts where it is set, even where it is empty: no key is then used. */
function sshKeyFile({ env, userHome }: CredentialSurroundings): {
  file: string;
  required: boolean;
} {
  const file = env["PICOCLAW_SSH_KEY_PATH"];
  if (file !== undefined) return { file, required: true };
  return { file: join(userHome, ".ssh", "picoclaw_ed25519.key"), required: false };
}
