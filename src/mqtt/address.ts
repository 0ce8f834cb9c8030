import { Failure } from "../base/failure.ts";
import { parseBroker } from "../config/broker.ts";
import type { MqttSettings } from "../config/contract.ts";
import type { DialAddress } from "./transport.ts";

/** Where a client dials for these settings: the built-in broker is dialled on the loopback it listens on. */
export function dialAddressOf({ broker }: Pick<MqttSettings, "broker">): DialAddress {
  const address = parseBroker(broker);
  if (address.kind === "invalid") {
    throw new Failure("config", "the broker's address is not understood", { why: address.reason });
  }
  if (address.kind !== "embedded") return address;
  return { kind: "tcp", host: reachable(address.host), port: address.port, path: "/" };
}

function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  return host === "::" ? "::1" : host;
}
