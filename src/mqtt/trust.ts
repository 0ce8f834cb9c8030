import type { Check } from "../base/check.ts";
import type { MqttChannel } from "../config/contract.ts";
import { dialAddressOf } from "./address.ts";

/** Whether the channel knows whom it talks to; undefined where it is not asked over TLS. */
export function trustCheck({ name, settings }: MqttChannel): Check | undefined {
  const { kind } = dialAddressOf(settings);
  if (kind !== "tls" && kind !== "wss") return undefined;
  const about = `TLS of ${name}`;
  if (settings.tls.verify) {
    return { name: about, result: "ok", message: "the broker's certificate is verified" };
  }
  return {
    name: about,
    result: "warn",
    message: "the broker's certificate is not verified: anyone on the way can read and answer",
    remedy: `set channel_list.${name}.settings.tls.ca_file, or tls.verify`,
  };
}

/**
 * Whether the broker can tell who asks. Its rules cannot be seen from here: what is looked at is whether
 * the channel itself comes with credentials, which a broker that is open to everyone does not ask for.
 */
export function identityCheck({ name, settings }: MqttChannel): Check | undefined {
  const address = dialAddressOf(settings);
  if (address.kind === "unix" || isOwn(address.host)) return undefined;
  const about = `broker of ${name}`;
  if (settings.username !== undefined || settings.tls.cert_file !== undefined) {
    const message =
      "it is given credentials; whether it keeps clients apart cannot be seen from here";
    return { name: about, result: "ok", message };
  }
  return {
    name: about,
    result: "warn",
    message: "it asks for no credentials: anyone who reaches it can ask and answer as anyone",
    remedy: "give it users, and the list that picoclaw acl mosquitto prints",
  };
}

function isOwn(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}
