import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { LanePoller } from "../../src/gateway/cluster/lane-poller.ts";
import type { Cluster } from "../../src/store/contract/cluster.ts";
import { createManualClock, settled } from "./manual-clock.ts";

const once = <T>(call: Promise<T>): Promise<T> => call;

describe("a gateway that asks for lanes", () => {
  it("claims what it has room for until the next poll brings more, also of a slow database", async () => {
    const clock = createManualClock();
    const asked: number[] = [];
    let takesMs = 300;
    const cluster: Pick<Cluster, "poll" | "onHint"> = {
      async poll(lanes) {
        asked.push(lanes);
        const { promise, resolve } = Promise.withResolvers<void>();
        clock.after(takesMs, resolve);
        await promise;
        return { claimed: [], stopped: [], joined: [] };
      },
      onHint: () => () => {},
    };
    const queue = { roomForLanes: (withinMs: number) => withinMs, isEmpty: false };
    const poller = new LanePoller<string>(
      // Nothing else of them is used.
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion
      { cluster: cluster as Cluster, clock, log: SILENT },
      { isHeld: () => true },
    );
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    const ports = { queue, durableRequests: { once }, policies: new Map() } as unknown;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    const started = poller.start(ports as Parameters<typeof poller.start>[0]);
    await settled();
    await clock.advance(300);
    await started;
    takesMs = 5000;
    for (let seconds = 0; asked.length < 3 && seconds < 20; seconds += 1) {
      await clock.advance(1000);
      await new Promise((resolve) => setImmediate(resolve));
      await settled();
    }
    assert.deepEqual(asked, [20, 320, 1020]);
  });
});
