import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { passphraseOf } from "../../config/compat/go/enc.ts";
import type { Decrypted } from "../../config/edit/decrypt.ts";
import { type Encrypted, encryptSecrets } from "../../config/edit/encrypt.ts";
import { configPaths } from "../../config/files.ts";
import type { Context } from "../context.ts";
import { askHidden } from "../terminal/prompt.ts";

/** `picoclaw config encrypt`. */
export async function encrypt(context: Context): Promise<number> {
  const { host, flags, redactor } = context;
  const { env, home: userHome, cwd } = host;
  const { file } = configPaths({ env, userHome, cwd });
  const isDry = flags.has("dry-run");
  const to = flags.choice("to") ?? "enc";
  if (to === "postgres") throw new Failure("usage", "secrets are kept as enc or file");
  const done = await encryptSecrets({
    file,
    env,
    userHome,
    to,
    rewriteConfig: flags.has("rewrite-config"),
    dryRun: isDry,
    passphrase: () => choosePassphrase(context),
    learn: (secrets) => redactor.add(secrets),
  });
  for (const one of done)
    await host.stdout.write(flags.has("json") ? secretJson(one) : secretText(one, isDry));
  if (!flags.has("json")) await host.stdout.write(`${summary(done, isDry)}\n`);
  const isSealed = done.some(({ did }) => did === "encrypted");
  if (isSealed && !isDry) await host.stderr.write(REMINDER);
  return 0;
}

/** `picoclaw config decrypt`. */
export async function decrypt(context: Context): Promise<number> {
  const { host, flags, redactor } = context;
  const { env, home: userHome, cwd } = host;
  const { file } = configPaths({ env, userHome, cwd });
  const { decryptSecrets } = await import("../../config/edit/decrypt.ts");
  const isDry = flags.has("dry-run");
  const done = await decryptSecrets({
    file,
    env,
    userHome,
    rewriteConfig: flags.has("rewrite-config"),
    dryRun: isDry,
    passphrase: () => askPassphrase(context),
    learn: (secrets) => redactor.add(secrets),
  });
  for (const one of done)
    await host.stdout.write(flags.has("json") ? secretJson(one) : secretText(one, isDry));
  if (!flags.has("json")) {
    const isNone = done.every(({ did }) => did === "left");
    await host.stdout.write(
      isNone ? "nothing to decrypt\n" : `${summary(done, isDry, "encrypted")}\n`,
    );
  }
  return 0;
}

const REMINDER =
  "note: every start needs the same passphrase: PICOCLAW_KEY_PASSPHRASE, or in a systemd unit LoadCredential=picoclaw-key-passphrase:/path/of/a/file\n";

function secretJson({ file, line, key, did, note }: Encrypted | Decrypted): string {
  return jsonLine({ v: 1, type: "secret", file, line, key, did, note });
}

function secretText({ file, line, key, did, note }: Encrypted | Decrypted, isDry: boolean): string {
  const what = isDry && did !== "left" ? `would be ${did}` : did;
  const more = note === undefined ? "" : did === "moved" ? ` to ${note}` : `: ${note}`;
  return `${escapeControl(`${file}:${line}: ${key}: ${what}${more}`)}\n`;
}

function summary(
  done: readonly (Encrypted | Decrypted)[],
  isDry: boolean,
  form = "in plain",
): string {
  const left = done.filter(({ did }) => did === "left").length;
  const changed = done.length - left;
  const rest = left === 0 ? "" : `, ${left} left ${form}`;
  if (changed === 0) return `nothing to encrypt${rest}`;
  const noun = changed === 1 ? "secret" : "secrets";
  return isDry ? `${changed} ${noun} would change${rest}` : `${changed} ${noun} changed${rest}`;
}

const WAYS = "set PICOCLAW_KEY_PASSPHRASE, or run it on a terminal";

/**
 * The passphrase of `enc://` values: from the same place as for the gateway, else typed twice without echo.
 * It is never an argument, which every user of the machine could read. Throws a usage `Failure` without one.
 */
async function choosePassphrase(context: Context): Promise<string> {
  const found = passphraseOf(context.host.env);
  if (typeof found === "string") return found;
  const first = await askPassphrase(context);
  const { host, signal } = context;
  const second = await askHidden(host, "Repeat it: ", signal);
  if (first === second) return first;
  throw new Failure("usage", "the two passphrases differ; nothing was changed");
}

/** The passphrase from the same place as for the gateway, else typed once. Throws a `Failure` without one. */
async function askPassphrase({ host, signal, redactor }: Context): Promise<string> {
  const found = passphraseOf(host.env);
  if (typeof found === "string") return found;
  if (found !== undefined) throw new Failure("config", found.fault, { remedy: WAYS });
  if (!host.stdin.isTTY || !host.stderr.isTTY) {
    throw new Failure("usage", "no passphrase is set, and there is no terminal to ask for it", {
      remedy: WAYS,
    });
  }
  const typed = await askHidden(host, "Passphrase for the secrets: ", signal);
  if (typed.trim() === "") throw new Failure("usage", "the passphrase is blank", { remedy: WAYS });
  redactor.add([typed]);
  return typed;
}
