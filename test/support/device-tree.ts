import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Device } from "../../src/agent/device/contract.ts";

/** A folder with files like those of a kernel, to be read instead of `/`. */
export interface DeviceTree {
  /** `now` is 2026-07-01 12:00 UTC; the pause between two samples runs `change` instead of waiting. */
  readonly device: Device;
  /** Writes files below the root. */
  write(files: Readonly<Record<string, string>>): Promise<void>;
  /** What happens between two samples. */
  change: () => Promise<void>;
  remove(): Promise<void>;
}

export async function createDeviceTree(
  files: Readonly<Record<string, string>> = {},
): Promise<DeviceTree> {
  const root = await mkdtemp(join(tmpdir(), "picoclaw-device-"));
  const tree: DeviceTree = {
    device: {
      root,
      workspace: join(root, "workspace"),
      now: () => new Date("2026-07-01T12:00:00Z"),
      pause: () => tree.change(),
    },
    async write(more) {
      for (const [path, text] of Object.entries(more)) {
        await mkdir(dirname(join(root, path)), { recursive: true });
        await writeFile(join(root, path), text);
      }
    },
    change: async () => {},
    remove: () => rm(root, { recursive: true }),
  };
  await tree.write(files);
  return tree;
}
