import { jsonLine } from "../../base/escape-control.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { encryptSecrets } from "../../config/encrypt/encrypt.ts";
import type { Encrypted } from "../../config/encrypt/encrypt.ts";
import { configPaths } from "../../config/files.ts";
import type { Context } from "../context.ts";
import { choosePassphrase } from "../passphrase.ts";

/** `picoclaw config encrypt`. */
export async function run(context: Context): Promise<number> {
  const { host, flags, redactor } = context;
  const { env, home: userHome, cwd } = host;
  const { file } = configPaths({ env, userHome, cwd });
  const isDry = flags.has("dry-run");
  const to = flags.choice("to") ?? "enc";
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
    await host.stdout.write(flags.has("json") ? lineOf(one) : told(one, isDry));
  if (!flags.has("json")) await host.stdout.write(`${summary(done, isDry)}\n`);
  const isSealed = done.some(({ did }) => did === "encrypted");
  if (isSealed && !isDry) await host.stderr.write(REMINDER);
  return 0;
}

const REMINDER =
  "note: every start needs the same passphrase: PICOCLAW_KEY_PASSPHRASE, or in a systemd unit LoadCredential=picoclaw-key-passphrase:/path/of/a/file\n";

function lineOf({ file, line, key, did, note }: Encrypted): string {
  return jsonLine({ v: 1, type: "secret", file, line, key, did, note });
}

function told({ file, line, key, did, note }: Encrypted, isDry: boolean): string {
  const what = isDry && did !== "left" ? `would be ${did}` : did;
  const more = note === undefined ? "" : did === "moved" ? ` to ${note}` : `: ${note}`;
  return `${escapeControl(`${file}:${line}: ${key}: ${what}${more}`)}\n`;
}

function summary(done: readonly Encrypted[], isDry: boolean): string {
  const left = done.filter(({ did }) => did === "left").length;
  const changed = done.length - left;
  const rest = left === 0 ? "" : `, ${left} left in plain`;
  if (changed === 0) return `nothing to encrypt${rest}`;
  const noun = changed === 1 ? "secret" : "secrets";
  return isDry ? `${changed} ${noun} would change${rest}` : `${changed} ${noun} changed${rest}`;
}
