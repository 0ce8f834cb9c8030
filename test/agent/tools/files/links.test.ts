import assert from "node:assert/strict";
import { constants, renameSync, symlinkSync } from "node:fs";
import { mkdir, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openDirBelow, openDir } from "../../../../src/agent/tools/files/open-dir.ts";
import type { OpenDir } from "../../../../src/agent/tools/files/open-dir.ts";
import { openRegular } from "../../../../src/agent/tools/files/open-dir.ts";
import { codeOf } from "../../../../src/base/failure.ts";
import { createTestWorkspace } from "../../../support/file-tools.ts";

/** Lets what was asked of the system be done, without letting this process hear of it. */
function hold(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** Where the opened file lies, or why there is none. */
async function opened(opening: ReturnType<typeof openRegular>): Promise<number | string> {
  try {
    const { handle, stats } = await opening;
    await handle.close();
    return stats.ino;
  } catch (error) {
    return codeOf(error) === "" ? String(error) : codeOf(error);
  }
}

describe("a file that is opened", () => {
  for (const [way, flags] of [
    ["read", constants.O_RDONLY],
    ["appended to", constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT],
  ] as const) {
    it(`to be ${way} is never what a link leads to that came after it was looked at`, async () => {
      await using files = await createTestWorkspace();
      const { workspace, outside } = files;
      const secret = join(outside, "secret");
      await writeFile(secret, "theirs");
      const { ino } = await stat(secret);
      const dir: OpenDir = await openDir(workspace);
      const outcomes: (number | string)[] = [];
      // The file is looked at, this process is busy, and the link is there before it opens.
      for (let busy = 1; !outcomes.includes("ELOOP") && busy < 1_000; busy *= 2) {
        await writeFile(join(workspace, `plain${busy}`), "ours");
        renameSync(join(workspace, `plain${busy}`), join(workspace, "f"));
        symlinkSync(secret, join(workspace, "link"));
        const opening = openRegular(dir, "f", flags);
        hold(busy);
        renameSync(join(workspace, "link"), join(workspace, "f"));
        outcomes.push(await opened(opening));
        assert.ok(!outcomes.includes(ino), "the file outside was opened");
      }
      await dir.close();
      assert.ok(outcomes.includes("ELOOP"), `the race was never met: ${outcomes.join(", ")}`);
    });
  }
});

describe("a folder on the way", () => {
  it("is no link, whether it is only used or made", async () => {
    await using files = await createTestWorkspace();
    const { workspace, outside } = files;
    await mkdir(join(outside, "deep"));
    await symlink(outside, join(workspace, "link"));
    for (const make of [false, true]) {
      for (const names of [["link"], ["link", "deep"], ["link", "new"]]) {
        await assert.rejects(openDirBelow(workspace, names, make));
      }
      for (const path of ["link", "link/deep"]) {
        await assert.rejects(openDirBelow(join(workspace, path), [], make));
      }
    }
    assert.deepEqual(await readdir(outside), ["deep"]);
  });
});
