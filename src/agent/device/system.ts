import { arch, release, type } from "node:os";
import type { Device, ReadFact } from "./contract.ts";
import { cleanName, readTextIfAny } from "./files.ts";

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

/** Boards with a device tree say what they are there, PCs in their DMI tables. */
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
