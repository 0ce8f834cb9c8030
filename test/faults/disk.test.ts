import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { smallDisk } from "../support/small-disk.ts";
import { until } from "../support/until.ts";
import { openFaultHarness, withFaults } from "./fault-harness.ts";

/** More than what may be free in the last block of a file. */
const PADDING = ` ${"x".repeat(6000)}`;

describe("a disk that is full", () => {
  it(
    "is logged, the client gets busy, and what the broker held is answered when there is room",
    withFaults,
    async (test) => {
      await using disk = await smallDisk(1024);
      if (disk === undefined) {
        test.skip("no tmpfs can be mounted here");
        return;
      }
      await using harness = await openFaultHarness({ clients: ["a", "b"], workspace: disk.path });
      await harness.start();
      harness.devices.ask("a");
      assert.deepEqual(await harness.outcome(), []);

      const ballast = join(disk.path, "ballast");
      await fill(ballast);
      harness.devices.ask("a", PADDING);
      harness.devices.ask("b", PADDING);
      const { heard } = harness.devices;
      await until(
        "both hear busy",
        () => heard.filter(({ error }) => error === "busy").length === 2,
      );
      const error = /"level":"error","msg":"requests cannot be stored"/;
      assert.match(harness.gateway().stderr(), error);
      assert.equal(harness.model.turns.length, 1);

      await rm(ballast);
      assert.deepEqual(await harness.outcome(), []);
      assert.match(harness.gateway().stderr(), /requests can be stored again/);
    },
  );

  it(
    "that stays full at a restart leaves everything with the broker until there is room",
    withFaults,
    async (test) => {
      await using disk = await smallDisk(1024);
      if (disk === undefined) {
        test.skip("no tmpfs can be mounted here");
        return;
      }
      await using harness = await openFaultHarness({ clients: ["a"], workspace: disk.path });
      await harness.start();
      const ballast = join(disk.path, "ballast");
      await fill(ballast);
      harness.devices.ask("a", PADDING);
      await until("busy is heard", () => harness.devices.heard.length > 0);
      await harness.kill();
      await rm(ballast);
      await harness.start();
      assert.deepEqual(await harness.outcome(), []);
      assert.equal(harness.model.turns.length, 1);
    },
  );
});

/** Fills the disk to the last byte. */
async function fill(file: string): Promise<void> {
  for (let size = 2 ** 20; size > 0; size = Math.floor(size / 2)) {
    for (;;) {
      const isWritten = await writeFile(file, Buffer.alloc(size), { flag: "a" }).then(
        () => true,
        () => false,
      );
      if (!isWritten) break;
    }
  }
}
