import { Failure } from "../../base/failure.ts";
import { setValue } from "../../config/edit/set.ts";
import type { Context } from "../context.ts";
import { readMessage } from "../message.ts";
import { askHidden } from "../terminal/prompt.ts";
import { settingJson, settingText } from "./show.ts";

/** Bytes of a secret. */
const MAX_BYTES = 65_536;

/** `picoclaw config set KEY [VALUE]`. */
export async function set(context: Context): Promise<number> {
  const { host, words, flags, redactor } = context;
  const [, key, written] = words;
  if (key === undefined) throw new Failure("usage", "config set: a key is missing");
  const { env, home, cwd, stdout, stderr } = host;
  const { settings, notes, file } = await setValue({
    env,
    home,
    cwd,
    key,
    written,
    dryRun: flags.has("dry-run"),
    askSecret: async (name) => {
      const secret = await secretFrom(context, name);
      redactor.add([secret]);
      return secret;
    },
  });
  for (const setting of settings) {
    const line = flags.has("json") ? settingJson(setting) : settingText(setting, true);
    await stdout.write(redactor.redact(line));
  }
  if (flags.has("dry-run")) await stderr.write(`note: ${file} was not written\n`);
  for (const note of notes) await stderr.write(redactor.redact(`note: ${note}\n`));
  return 0;
}

async function secretFrom({ host, signal }: Context, key: string): Promise<string> {
  if (!host.stdin.isTTY) {
    return readMessage({ from: "stdin" }, host, { maxBytes: MAX_BYTES, signal });
  }
  const secret = await askHidden(host, `Value of ${key}: `, signal);
  if (secret.trim() === "") throw new Failure("usage", "the value is blank; nothing was written");
  return secret;
}
