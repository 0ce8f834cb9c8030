import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { FULL_ACCESS } from "../../../src/agent/access/permissions.ts";
import type { Device } from "../../../src/agent/device/contract.ts";
import {
  MINUTE_MS,
  openDeviceHistory,
  createRing,
  HISTORY_MINUTES,
} from "../../../src/agent/device/history.ts";
import type { DeviceHistory, Measured } from "../../../src/agent/device/history.ts";
import { pastText } from "../../../src/agent/device/past.ts";
import { createOfflineAgent } from "../../../src/agent/fallback/offline-agent.ts";
import { understandPast } from "../../../src/agent/fallback/understand.ts";
import { createDeviceTool } from "../../../src/agent/tools/device.ts";
import { SILENT } from "../../../src/base/log.ts";
import { callContext, collect } from "../../support/agent-config.ts";
import { createDeviceTree } from "../../support/device-tree.ts";
import { createMemoryLog } from "../../support/memory-log.ts";

const NOON = new Date(2026, 6, 1, 12, 0, 0);
const sample = (temperature: number) => ({
  cpu: 10,
  memory: Number.NaN,
  temperature,
  load: 1,
  disk: 50,
});

/** A device whose clock and temperature the test sets. */
async function deviceAt(start: Date) {
  const tree = await createDeviceTree();
  let now = start.getTime();
  const device: Device = { ...tree.device, now: () => new Date(now) };
  const heat = (degrees: number) =>
    tree.write({
      "sys/class/thermal/thermal_zone0/temp": `${degrees * 1000}\n`,
      "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    });
  const pass = (minutes: number): void => {
    now += minutes * MINUTE_MS;
  };
  return { tree, device, heat, pass };
}

/** Runs with the clock on the wall of a place. */
function inZone(zone: string, work: () => void): void {
  // Its name: Deno does not see that the variable is gone.
  const before = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  process.env["TZ"] = zone;
  try {
    work();
  } finally {
    process.env["TZ"] = before;
  }
}

/** A history that measured these, and nothing else. */
const historyOf = (measured: readonly Measured[]): DeviceHistory => ({
  between: () => measured,
  take: () => Promise.resolve(),
  close: () => Promise.resolve(),
});

describe("the ring of samples", () => {
  it("has the samples of the last two days, whatever was added before and however the clock jumped", () => {
    const minutes = fc.array(fc.integer({ min: 1_000_000, max: 1_010_000 }), { maxLength: 50 });
    fc.assert(
      fc.property(minutes, fc.integer({ min: 1_000_000, max: 1_010_000 }), (added, from) => {
        const ring = createRing();
        const last = new Map<number, number>();
        for (const [value, minute] of added.entries()) {
          ring.add(minute, sample(value));
          last.set(minute % HISTORY_MINUTES, minute);
        }
        const to = from + 5000;
        const expected = [...last.values()]
          .filter((minute) => minute >= Math.max(from, to - HISTORY_MINUTES) && minute < to)
          .toSorted((a, b) => a - b);
        const found = ring.between("temperature", from, to);
        assert.deepEqual(
          found.map(({ minute }) => minute),
          expected,
        );
        for (const { minute, value } of found) assert.equal(value, added.lastIndexOf(minute));
        assert.deepEqual(ring.between("memory", from, to), []);
      }),
    );
  });

  it("is the same after it was written and read, and refuses what is no ring", () => {
    const ring = createRing();
    ring.add(5_000_000, sample(41.5));
    const bytes = ring.bytes();
    assert.ok(bytes.length < 100_000);
    const again = createRing(bytes);
    assert.deepEqual(again?.between("temperature", 5_000_000, 5_000_001), [
      { minute: 5_000_000, value: 41.5 },
    ]);
    assert.equal(createRing(bytes.subarray(1)), undefined);
    assert.equal(createRing(bytes.map((byte, at) => (at < 4 ? byte ^ 1 : byte))), undefined);
  });

  it("is refused where any bit of it has flipped", () => {
    const ring = createRing();
    for (let minute = 5_000_000; minute < 5_000_100; minute += 1) ring.add(minute, sample(41.5));
    const bytes = ring.bytes();
    const places = fc.record({ at: fc.nat(bytes.length - 1), bit: fc.nat(7) });
    fc.assert(
      fc.property(places, ({ at, bit }) => {
        const flipped = bytes.map((byte, place) => (place === at ? byte ^ (1 << bit) : byte));
        assert.equal(createRing(flipped), undefined);
      }),
    );
  });
});

describe("the history of a device", () => {
  it("outlives the process, with a gap while it was off", async () => {
    const { tree, device, heat, pass } = await deviceAt(NOON);
    const file = join(device.workspace, "state", "device-history");
    const first = openDeviceHistory({ device, file, log: SILENT });
    await heat(40);
    await first.take();
    await first.take();
    await first.close();
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    pass(30);
    await heat(60);
    const second = openDeviceHistory({ device, file, log: SILENT });
    await second.take();
    await second.take();
    const kept = second.between("temperature", 0, device.now().getTime());
    assert.deepEqual(
      kept.map(({ value }) => value),
      [40, 60],
    );
    assert.equal((kept[1]?.minute ?? 0) - (kept[0]?.minute ?? 0), 30);
    await second.close();
    await tree.remove();
  });

  it("is written to its end when it is closed", async () => {
    const { tree, device } = await deviceAt(NOON);
    const file = join(device.workspace, "state", "device-history");
    const history = openDeviceHistory({ device, file, log: SILENT });
    for (let count = 0; count < 14; count += 1) await history.take();
    // The fifteenth is written; it is closed in the midst of that.
    const underWay = history.take();
    while (!existsSync(dirname(file)) || readdirSync(dirname(file)).length === 0) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await history.close();
    const written = createRing(await readFile(file));
    assert.equal(written?.between("disk", 0, device.now().getTime() / MINUTE_MS + 1).length, 1);
    await underWay;
    await tree.remove();
  });

  it("begins anew where its file is unreadable, and says so", async () => {
    const { tree, device } = await deviceAt(NOON);
    const file = join(device.workspace, "device-history");
    await mkdir(device.workspace, { recursive: true });
    await writeFile(file, "nonsense");
    const log = createMemoryLog();
    const history = openDeviceHistory({ device, file, log });
    await history.take();
    assert.ok(log.lines.some(({ message }) => message.includes("starts over")));
    await history.close();
    assert.notEqual((await readFile(file)).length, 8);
    await tree.remove();
  });

  it("goes on where its file cannot be written", async () => {
    const { tree, device } = await deviceAt(NOON);
    await mkdir(device.workspace, { recursive: true });
    await writeFile(join(device.workspace, "file"), "");
    const log = createMemoryLog();
    const file = join(device.workspace, "file", "device-history");
    const history = openDeviceHistory({ device, file, log });
    await history.take();
    await history.close();
    assert.ok(log.lines.some(({ message }) => message.includes("cannot be written")));
    await rm(device.root, { recursive: true });
    await tree.remove().catch(() => {});
  });
});

describe("the device tool", () => {
  it("describes a fact with its highest value, its lowest and each hour", async () => {
    const { tree, device, heat, pass } = await deviceAt(new Date(2026, 6, 1, 8, 0, 0));
    const history = openDeviceHistory({ device, log: SILENT });
    for (const degrees of [40, 50, 62, 44]) {
      await history.take();
      await heat(degrees);
      await history.take();
      pass(60);
    }
    const tool = createDeviceTool(device, history);
    const asked = { facts: ["temperature"], hours_back_from: 4.1 };
    const text = await tool.run(asked, callContext());
    assert.match(
      text,
      /^Temperature from 07:54 to 12:00: highest 62\.0 °C at 10:00, lowest 40\.0 °C at 08:00, mean 49\.0 °C, 4 of 247 minutes known\.$/m,
    );
    assert.match(text, /^10:00: 62\.0 °C to 62\.0 °C, mean 62\.0 °C$/m);
    assert.equal(text.split("\n").length, 5);
    const both = { facts: ["hostname"], history: { fact: "load", hours_back_from: 0.5 } };
    assert.match(await tool.run(both, callContext()), /^.*\nNo samples of the load|Load from/);
    assert.match(await tool.run({}, callContext()), /give facts/);
    const several = { facts: ["load", "uptime"], hours_back_from: 0, hours_back_to: "4.1" };
    assert.match(
      await tool.run(several, callContext()),
      /^Load from 07:54 to 12:00:[^]*\nThere are no past values of uptime, only of cpu, memory, temperature, load, disk\.$/,
    );
    assert.doesNotMatch(JSON.stringify(tool.parameters), /history/);
    // As it was asked before.
    const before = { history: { fact: "temperature", hours_back_from: 4.1 } };
    assert.equal(await tool.run(before, callContext()), text);
    await history.close();
    await tree.remove();
  });

  it("says where there are no samples", () => {
    const text = pastText({ fact: "cpu", from: 14, to: 6 }, historyOf([]), NOON.getTime());
    assert.match(text, /^No samples of the CPU usage from 22:00 on Tuesday to 06:00/);
  });

  it("describes the full hour of the question, whatever fraction of hours it is back", () => {
    for (let second = 0; second < 3600; second += 7) {
      const now = NOON.getTime() + second * 1000 + 1;
      const from = (now - new Date(2026, 5, 30, 22).getTime()) / 3_600_000;
      assert.match(pastText({ fact: "cpu", from, to: 6 }, historyOf([]), now), /from 22:00 on/);
    }
  });

  it("separates the hour that comes twice when the clocks go back", () => {
    inZone("Europe/Berlin", () => {
      const start = new Date(2026, 9, 25).getTime() / MINUTE_MS;
      const measured = Array.from({ length: 300 }, (_, minute) => {
        return { minute: start + minute, value: minute };
      });
      const past = { fact: "load", from: 5, to: 0 } as const;
      const text = pastText(past, historyOf(measured), (start + 300) * MINUTE_MS);
      const hours = text.split("\n").slice(1);
      assert.deepEqual(
        hours.map((line) => line.slice(0, line.indexOf(","))),
        [
          "00:00: 0.00 to 59.00",
          "01:00: 60.00 to 119.00",
          "02:00: 120.00 to 179.00",
          "02:00: 180.00 to 239.00",
          "03:00: 240.00 to 299.00",
        ],
      );
    });
  });

  it("knows a night in which the clocks change, and the day before it", () => {
    inZone("Europe/Berlin", () => {
      const autumn = new Date(2026, 9, 25, 12);
      const spring = new Date(2026, 2, 29, 12);
      const night = "Was it hot last night?";
      assert.deepEqual(understandPast(night, autumn), { fact: "temperature", from: 15, to: 6 });
      assert.deepEqual(understandPast(night, spring), { fact: "temperature", from: 13, to: 6 });
      const day = "Was it hot yesterday?";
      assert.deepEqual(understandPast(day, autumn), { fact: "temperature", from: 37, to: 13 });
      assert.deepEqual(understandPast(day, spring), { fact: "temperature", from: 35, to: 11 });
    });
  });
});

describe("the offline agent", () => {
  it("answers a question about the past from the samples", async () => {
    const { tree, device, heat } = await deviceAt(new Date());
    const history = openDeviceHistory({ device, log: SILENT });
    await history.take();
    await heat(57);
    await history.take();
    const agent = createOfflineAgent({
      deviceTool: createDeviceTool(device, history),
      permissionsOf: () => FULL_ACCESS,
    });
    const text = "How hot was it in the last 2 hours?";
    const signal = new AbortController().signal;
    const { text: answer, result } = await collect(
      agent({ text, history: async () => [], client: "c", signal }),
    );
    assert.match(answer, /^Temperature from .* highest 57\.0 °C/);
    assert.equal(result.messages[1]?.text, answer);
    await history.close();
    await tree.remove();
  });
});
