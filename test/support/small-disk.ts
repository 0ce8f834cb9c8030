import { spawnSync } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { temporaryFolder } from "./temporary.ts";

/** A separate disk that can be filled; undefined when this machine allows no mount. */
export async function smallDisk(
  kibibytes: number,
): Promise<({ path: string } & AsyncDisposable) | undefined> {
  const folder = await temporaryFolder();
  const path = join(folder.path, "workspace");
  await mkdir(path);
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${kibibytes}k`, "tmpfs", path]);
  if (status !== 0) {
    await folder[Symbol.asyncDispose]();
    return undefined;
  }
  return {
    path,
    async [Symbol.asyncDispose]() {
      spawnSync("umount", ["-l", path]);
      await folder[Symbol.asyncDispose]();
    },
  };
}
