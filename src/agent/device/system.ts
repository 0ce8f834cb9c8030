import { arch, release, type, hostname, networkInterfaces } from "node:os";
import type { NetworkInterfaceInfo } from "node:os";
import type { Device, ReadFact } from "./contract.ts";
import { cleanName, readTextIfAny } from "./files.ts";
import { listText } from "./format.ts";

/** Board, operating system, kernel. */
export const readSystem: ReadFact = async (device) => {
  const [board, system, kernel] = await Promise.all([
    boardName(device),
    systemName(device),
    readTextIfAny(device, "proc/sys/kernel/osrelease", 256),
  ]);
  const kernelName = `${type()} ${cleanName(kernel ?? release())} on ${arch()}`;
  const names = system === undefined ? kernelName : `${system}, ${kernelName}`;
  return `The system is ${names}${board === undefined ? "" : `; the board is ${board}`}.`;
};

/** The name of the board from the device tree, or of the PC from its DMI tables. */
async function boardName(device: Device): Promise<string | undefined> {
  const tree = await readTextIfAny(device, "proc/device-tree/model", 256);
  if (tree !== undefined) return cleanName(tree) || undefined;
  const folder = "sys/class/dmi/id";
  const vendor = await readTextIfAny(device, `${folder}/sys_vendor`, 256);
  const product = await readTextIfAny(device, `${folder}/product_name`, 256);
  return cleanName(`${vendor?.trim() ?? ""} ${product?.trim() ?? ""}`) || undefined;
}

async function systemName(device: Device): Promise<string | undefined> {
  const text =
    (await readTextIfAny(device, "etc/os-release", 8192)) ??
    (await readTextIfAny(device, "usr/lib/os-release", 8192)) ??
    "";
  const name = /^PRETTY_NAME=["']?([^"'\n]+)/m.exec(text)?.[1];
  return name === undefined ? undefined : cleanName(name);
}

type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

const MAX_ADDRESSES = 10;

/** The addresses of the network interfaces, without loopback. */
export const readNetwork: ReadFact = async () => networkText(hostname(), networkInterfaces());

/** The hostname. */
export const readHostname: ReadFact = async () => `The hostname is ${cleanName(hostname())}.`;

/** The addresses in words; link-local IPv6 addresses only if an interface has no other. */
export function networkText(host: string, interfaces: Interfaces): string {
  const all = Object.entries(interfaces).flatMap(([name, infos = []]) => {
    const outside = infos.filter(({ internal }) => !internal);
    const global = outside.filter(({ address }) => !/^fe80:/i.test(address));
    const shown = global.length > 0 ? global : outside;
    return shown.map(({ address }) => `${address} on ${cleanName(name)}`);
  });
  const named = `hostname ${cleanName(host)}`;
  if (all.length === 0) return `This device has no network address except loopback (${named}).`;
  const more = all.length > MAX_ADDRESSES ? [`${all.length - MAX_ADDRESSES} more`] : [];
  const subject = all.length === 1 ? "Network address is" : "Network addresses are";
  return `${subject} ${listText([...all.slice(0, MAX_ADDRESSES), ...more])} (${named}).`;
}
