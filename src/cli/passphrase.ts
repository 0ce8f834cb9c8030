import { Failure } from "../base/failure.ts";
import { passphraseOf } from "../config/credential.ts";
import type { Context } from "./context.ts";
import { askHidden } from "./prompt.ts";

const WAYS = "set PICOCLAW_KEY_PASSPHRASE, or run it on a terminal";

/**
 * The passphrase of `enc://` values: from where a gateway takes it, else asked for twice without an echo.
 * Never an argument, which every user of the machine could read. Throws a usage `Failure` without one.
 */
export async function choosePassphrase({ host, signal, redactor }: Context): Promise<string> {
  const found = await passphraseOf(host.env);
  if (typeof found === "string") return found;
  if (found !== undefined) throw new Failure("config", found.fault, { remedy: WAYS });
  if (!host.stdin.isTTY || !host.stderr.isTTY) {
    throw new Failure("usage", "there is no passphrase, and nobody to ask for it", {
      remedy: WAYS,
    });
  }
  const first = await askHidden(host, "Passphrase for the secrets: ", signal);
  if (first.trim() === "") throw new Failure("usage", "the passphrase is blank", { remedy: WAYS });
  redactor.add([first]);
  const second = await askHidden(host, "The same again: ", signal);
  if (first === second) return first;
  throw new Failure("usage", "these are two different passphrases; nothing was changed");
}
