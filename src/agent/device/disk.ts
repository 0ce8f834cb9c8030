import { stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Device, ReadFact } from "./contract.ts";
import { cleanName, readTextIfAny } from "./files.ts";
import { percentText, sizeText } from "./format.ts";

interface Disk {
  /** The mount point, or the workspace. */
  readonly name: string;
  readonly path: string;
}

interface DiskState {
  readonly name: string;
  /** The device number of the file system; equal numbers are the same disk. */
  readonly number: number;
  /** Bytes. */
  readonly used: number;
  readonly available: number;
}

/** File systems on local storage. Those over a network can hang forever. */
const LOCAL =
  /^(ext[234]|xfs|btrfs|f2fs|vfat|msdos|exfat|ntfs3?|fuseblk|zfs|ubifs|jffs2|yaffs2?|bcachefs|jfs|reiserfs|hfsplus|nilfs2)$/;
const MAX_DISKS = 12;

/** The usage of the disks: `/`, each mounted file system on local storage, and the workspace's. */
export const readDisk: ReadFact = async (device) => {
  const mounted = await mountedDisks(device);
  const states = await Promise.all(mounted.map(diskState));
  const found = states.filter((state) => state !== undefined);
  const workspace = await workspaceState(device.workspace);
  if (workspace !== undefined && !found.some(({ number }) => number === workspace.number)) {
    found.push(workspace);
  }
  if (found.length === 0) throw new Error("no file system reports its size");
  return `Disk usage is ${found.map(diskText).join("; ")}.`;
};

/** The used share of the workspace's disk, 0 to 1; undefined if it is unknown. */
export async function workspaceDiskShare(device: Device): Promise<number | undefined> {
  const state = await workspaceState(device.workspace);
  return state && state.used / (state.used + state.available);
}

function diskText({ name, used, available }: DiskState): string {
  const sizes = `${sizeText(available)} free of ${sizeText(used + available)}`;
  return `${percentText(used, used + available)} on ${name} (${sizes})`;
}

/** `/` first, then one mount point for each source: bind mounts and subvolumes show the same disk again. */
async function mountedDisks(device: Device): Promise<Disk[]> {
  const text = (await readTextIfAny(device, "proc/self/mounts")) ?? "";
  const mounts = text.split("\n").map((line) => line.split(" "));
  const rootSource = mounts.findLast(([, target]) => target === "/")?.[0];
  const places = new Map<string, string>();
  for (const [source = "", target = "", type = ""] of mounts) {
    if (source === rootSource || !LOCAL.test(type)) continue;
    const place = withoutEscapes(target);
    const shortest = places.get(source);
    if (shortest === undefined || place.length < shortest.length) places.set(source, place);
  }
  return ["/", ...places.values()]
    .slice(0, MAX_DISKS)
    .map((place) => ({ name: cleanName(place), path: join(device.root, place) }));
}

/** Decodes blanks in a mount's path, written as `\040` (proc(5), fstab(5)). */
function withoutEscapes(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

async function diskState({ name, path }: Disk): Promise<DiskState | undefined> {
  try {
    const [{ dev }, { bsize, blocks, bfree, bavail }] = await Promise.all([
      stat(path),
      statfs(path),
    ]);
    if (blocks === 0) return undefined;
    return { name, number: dev, used: (blocks - bfree) * bsize, available: bavail * bsize };
  } catch {
    // No permission, or unmounted since the list was read.
    return undefined;
  }
}

/** The disk of the workspace, or of its nearest existing parent. */
async function workspaceState(workspace: string): Promise<DiskState | undefined> {
  for (let path = workspace; ; path = dirname(path)) {
    const state = await diskState({ name: `the workspace ${cleanName(workspace)}`, path });
    if (state !== undefined || path === dirname(path)) return state;
  }
}
