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
