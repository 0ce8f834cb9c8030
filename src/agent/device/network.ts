import { hostname, networkInterfaces } from "node:os";
import type { NetworkInterfaceInfo } from "node:os";
import type { ReadFact } from "./contract.ts";
import { cleanName } from "./files.ts";
import { listText } from "./format.ts";

type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

const MAX_ADDRESSES = 10;

/** The addresses of the network interfaces, without loopback. */
export const readNetwork: ReadFact = async () => networkText(hostname(), networkInterfaces());

/** What the device is called in its network. */
export const readHostname: ReadFact = async () => `The hostname is ${cleanName(hostname())}.`;

/** In words; link-local addresses of IPv6 only where an interface has no better one. */
export function networkText(host: string, interfaces: Interfaces): string {
  const all = Object.entries(interfaces).flatMap(([name, infos = []]) => {
    const outside = infos.filter(({ internal }) => !internal);
    const global = outside.filter(({ address }) => !/^fe80:/i.test(address));
    const shown = global.length > 0 ? global : outside;
    return shown.map(({ address }) => `${address} on ${cleanName(name)}`);
  });
  const named = `hostname ${cleanName(host)}`;
  if (all.length === 0) return `This device has no network address but loopback (${named}).`;
  const more = all.length > MAX_ADDRESSES ? [`${all.length - MAX_ADDRESSES} more`] : [];
  const subject = all.length === 1 ? "Network address is" : "Network addresses are";
  return `${subject} ${listText([...all.slice(0, MAX_ADDRESSES), ...more])} (${named}).`;
}
