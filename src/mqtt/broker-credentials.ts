import { timingSafeEqual, createHash } from "node:crypto";
import type { AedesOptions, Client } from "aedes";
import type { MqttSettings } from "../config/contract.ts";

type Credentials = Pick<MqttSettings, "username" | "password">;

export function hasCredentials({ username, password }: Credentials): boolean {
  return Boolean(username?.reveal()) && Boolean(password?.reveal());
}

/** Lets in with the credentials of the settings, or anyone where there are none; `onKnown` is told of each. */
export function authenticator(
  { username, password }: Credentials,
  clientIdBytes: number,
  onKnown: (client: Client) => void,
): NonNullable<AedesOptions["authenticate"]> {
  return (client, name, word, done) => {
    if (Buffer.byteLength(client.id) > clientIdBytes) {
      return done(Object.assign(new Error("client id too long"), { returnCode: 2 }), false);
    }
    const known =
      username === undefined ||
      (same(name ?? "", username.reveal()) && same(word ?? "", password?.reveal() ?? ""));
    if (known) onKnown(client);
    // Without an error aedes answers a refusal with return code 5, not authorized.
    done(null, known);
  };
}

/** In a time that does not depend on where the two differ. */
function same(left: string | Uint8Array, right: string): boolean {
  return timingSafeEqual(digestOf(left), digestOf(right));
}

function digestOf(text: string | Uint8Array): Buffer {
  return createHash("sha256").update(text).digest();
}
