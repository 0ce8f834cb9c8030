import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { cpus, networkInterfaces } from "node:os";
import type { NetworkInterfaceInfo } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { factSentence, networkText } from "../../../src/agent/device/facts.ts";
import type { FactName } from "../../../src/agent/device/facts.ts";
import { localTime } from "../../../src/agent/device/time.ts";
import { createDeviceTree } from "../../support/device-tree.ts";
import type { DeviceTree } from "../../support/device-tree.ts";
import { until } from "../../support/until.ts";

const NEVER = new AbortController().signal;

let tree: DeviceTree;
beforeEach(async () => {
  tree = await createDeviceTree();
});
afterEach(() => tree.remove());

const shown = (fact: FactName): Promise<string> => factSentence(fact, tree.device, NEVER);

describe("the CPU", () => {
  const cores = "cpu0 1 1 1 1\ncpu1 1 1 1 1\ncpu2 1 1 1 1\ncpu3 1 1 1 1\nintr 7\n";

  it("is as busy as it was between the two samples", async () => {
    await tree.write({
      "proc/stat": `cpu  1000 0 500 8000 500 0 0 0 90 0\n${cores}`,
      "proc/loadavg": "0.31 0.28 0.25 1/80 4242\n",
    });
    // 100 of 800 ticks: user 60, system 30, stolen 10; waiting for a disk is not busy.
    tree.change = () =>
      tree.write({ "proc/stat": `cpu  1060 0 530 8600 600 0 0 10 150 0\n${cores}` });
    assert.equal(await shown("cpu"), "CPU usage is 12.5 % (4 cores, load 0.31).");
  });

  it("that does not count its time is said not to", async () => {
    await tree.write({ "proc/stat": `cpu  1 1 1 1 1 1 1 1\n${cores}` });
    assert.match(await shown("cpu"), /^The cpu cannot be read here \(.*did not advance\)\.$/);
  });

  it("whose counters jump is never beyond its bounds", async () => {
    await tree.write({ "proc/stat": "cpu  100 0 0 1000 500 0 0 0\ncpu0 1\n" });
    tree.change = () => tree.write({ "proc/stat": "cpu  200 0 0 1010 400 0 0 0\ncpu0 1\n" });
    assert.match(await shown("cpu"), /^CPU usage is 100\.0 % \(1 core/);
  });

  it("is measured by the runtime where there is no /proc", async () => {
    tree.change = () => {
      const before = countedTime();
      return until("the time of the cores has advanced", () => countedTime() > before);
    };
    assert.match(await shown("cpu"), /^CPU usage is \d+\.\d % \(\d+ core/);
  });

  it("has a make, a speed, and load averages", async () => {
    await tree.write({
      "proc/stat": `cpu  1 1 1 1 1 1 1 1\n${cores}`,
      "proc/cpuinfo": "processor\t: 0\nmodel name\t: Cortex-A72\nBogoMIPS\t: 108.00\n",
      "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000\n",
      "proc/loadavg": "0.31 0.28 0.25 1/80 4242\n",
    });
    assert.equal(await shown("processor"), "The processor is Cortex-A72 with 4 cores at 1.80 GHz.");
    assert.equal(
      await shown("load"),
      "Load average is 0.31, 0.28, 0.25 over 1, 5 and 15 minutes (4 cores).",
    );
  });
});

describe("the memory", () => {
  const meminfo = `MemTotal: 8388608 kB\nMemFree: 1048576 kB\nMemAvailable: 6291456 kB\nBuffers: 1 kB\nSwapTotal: 2097152 kB\nSwapFree: 1572864 kB\n`;

  it("is as full as what is not available", async () => {
    await tree.write({ "proc/meminfo": meminfo });
    assert.equal(
      await shown("memory"),
      "Memory usage is 25.0 % (2.0 GiB of 8.0 GiB, 6.0 GiB available; swap 512 MiB of 2.0 GiB).",
    );
  });

  it("of an old kernel is estimated, and may have no swap", async () => {
    await tree.write({
      "proc/meminfo": "MemTotal: 65536 kB\nMemFree: 8192 kB\nBuffers: 4096 kB\nCached: 4096 kB\n",
    });
    assert.equal(
      await shown("memory"),
      "Memory usage is 75.0 % (48.0 MiB of 64.0 MiB, 16.0 MiB available; no swap).",
    );
  });

  const limited =
    "Memory usage is 25.0 % of this container's limit (64.0 MiB of 256 MiB, 192 MiB available; the device has 8.0 GiB).";
  const files = { max: "268435456\n", used: "100663296\n" };

  it("is a container's where its limit is lower (cgroup 2)", async () => {
    await tree.write({
      "proc/meminfo": meminfo,
      "proc/self/cgroup": "0::/docker/abc\n",
      "sys/fs/cgroup/memory.max": files.max,
      "sys/fs/cgroup/memory.current": files.used,
      "sys/fs/cgroup/memory.stat": "anon 5\ninactive_file 33554432\n",
    });
    assert.equal(await shown("memory"), limited);
  });

  it("is a container's where its limit is lower (cgroup 1)", async () => {
    const folder = "sys/fs/cgroup/memory/docker/abc";
    await tree.write({
      "proc/meminfo": meminfo,
      "proc/self/cgroup": "9:cpu:/x\n4:hugetlb,memory:/docker/abc\n0::/\n",
      [`${folder}/memory.limit_in_bytes`]: files.max,
      [`${folder}/memory.usage_in_bytes`]: files.used,
      [`${folder}/memory.stat`]: "inactive_file 1\ntotal_inactive_file 33554432\n",
    });
    assert.match(await shown("memory"), /container's limit/);
  });

  it("is the device's where the container has no limit", async () => {
    await tree.write({
      "proc/meminfo": meminfo,
      "proc/self/cgroup": "0::/\n",
      "sys/fs/cgroup/memory.max": "max\n",
      "sys/fs/cgroup/memory.current": files.used,
    });
    assert.match(await shown("memory"), /^Memory usage is 25.0 % \(2/);
  });
});

describe("the disks", () => {
  it("are those on local storage, each once, with the workspace where it lies elsewhere", async () => {
    await tree.write({
      "proc/self/mounts": [
        "/dev/root / ext4 rw 0 0",
        "proc /proc proc rw 0 0",
        "tmpfs /run tmpfs rw 0 0",
        "/dev/mmcblk0p1 /boot/firmware vfat rw 0 0",
        "/dev/sda1 /media/my\\040disk ext4 rw 0 0",
        "/dev/sda1 /var/lib/docker/volumes ext4 rw 0 0",
        "/dev/loop0 /snap/core squashfs ro 0 0",
        "nas:/share /mnt/nas nfs4 rw 0 0",
        "/dev/sdb1 /gone ext4 rw 0 0",
      ].join("\n"),
    });
    await mkdir(join(tree.device.root, "boot/firmware"), { recursive: true });
    await mkdir(join(tree.device.root, "media/my disk"), { recursive: true });
    const sentence = await shown("disk");
    const places = [...sentence.matchAll(/ % on (.+?) \(/g)].map(([, place]) => place);
    assert.deepEqual(places, ["/", "/boot/firmware", "/media/my disk"]);
    assert.match(
      sentence,
      /^Disk usage is \d+\.\d % on \/ \(\S+ [KMGT]iB free of \S+ [KMGT]iB\); /,
    );
  });
});

describe("the temperature", () => {
  it("is the processor's first, each sensor once, and none that says nonsense", async () => {
    await tree.write({
      "sys/class/thermal/thermal_zone0/type": "gpu-thermal\n",
      "sys/class/thermal/thermal_zone0/temp": "61250\n",
      "sys/class/thermal/thermal_zone1/type": "cpu-thermal\n",
      "sys/class/thermal/thermal_zone1/temp": "48312\n",
      "sys/class/thermal/thermal_zone2/type": "broken\n",
      "sys/class/thermal/thermal_zone2/temp": "-274000\n",
      "sys/class/thermal/cooling_device0/type": "fan\n",
      "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
      "sys/class/hwmon/hwmon0/temp1_input": "48312\n",
      "sys/class/hwmon/hwmon1/name": "nvme\n",
      "sys/class/hwmon/hwmon1/temp1_label": "Composite\n",
      "sys/class/hwmon/hwmon1/temp1_input": "35850\n",
      "sys/class/hwmon/hwmon1/temp2_input": "no\n",
    });
    assert.equal(
      await shown("temperature"),
      "Temperature is 48.3 °C (cpu-thermal), 61.3 °C (gpu-thermal), 35.9 °C (nvme Composite).",
    );
  });

  it("of a device without a sensor is said plainly", async () => {
    assert.equal(
      await shown("temperature"),
      "This device has no temperature sensor that can be read.",
    );
  });
});

describe("the rest", () => {
  it("system: board, distribution and kernel", async () => {
    await tree.write({
      "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
      "etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
      "proc/sys/kernel/osrelease": "6.1.21-v8+\n",
    });
    assert.match(
      await shown("system"),
      /^The system is Debian GNU\/Linux 12 \(bookworm\), \w+ 6\.1\.21-v8\+ on \w+; the board is Raspberry Pi 4 Model B Rev 1\.4\.$/,
    );
  });

  it("system: a PC is named in its DMI tables", async () => {
    await tree.write({
      "sys/class/dmi/id/sys_vendor": "LENOVO\n",
      "sys/class/dmi/id/product_name": "ThinkEdge SE30\n",
    });
    assert.match(await shown("system"), /; the board is LENOVO ThinkEdge SE30\.$/);
  });

  it("uptime: how long and since when", async () => {
    await tree.write({ "proc/uptime": "273912.45 1000000.00\n" });
    const since = localTime(new Date(tree.device.now().getTime() - 273_912_450));
    assert.equal(await shown("uptime"), `Uptime is 3 days and 4 hours, since ${since}.`);
  });

  it("time: with its zone", async () => {
    assert.match(
      await shown("time"),
      /^The time is \d\d:\d\d:00 on \w+day, 2026-\d\d-\d\d \(.+\)\.$/,
    );
  });

  it("network: addresses without loopback, link-local ones only where there is no other", () => {
    const sentence = networkText("pi", {
      lo: [interfaceAt("127.0.0.1", true)],
      eth0: [interfaceAt("192.168.1.5"), interfaceAt("fe80::1")],
      wlan0: [interfaceAt("fe80::2")],
    });
    assert.equal(
      sentence,
      "Network addresses are 192.168.1.5 on eth0 and fe80::2 on wlan0 (hostname pi).",
    );
    assert.match(networkText("pi", {}), /no network address except loopback/);
    assert.ok(networkText("pi", networkInterfaces()).endsWith("(hostname pi)."));
  });

  it("a fact that hangs is given up, and an abort is obeyed", async () => {
    const reason = new Error("stop");
    const controller = new AbortController();
    tree.change = () => {
      controller.abort(reason);
      return new Promise(() => {});
    };
    await tree.write({ "proc/stat": "cpu  1 1 1 1 1 1 1 1\n" });
    const hung = factSentence("cpu", tree.device, controller.signal);
    await assert.rejects(hung, (thrown) => thrown === reason);
  });
});

/** Milliseconds that all cores have counted. */
function countedTime(): number {
  return cpus().reduce((sum, { times }) => sum + times.user + times.sys + times.idle, 0);
}

function interfaceAt(address: string, internal = false): NetworkInterfaceInfo {
  const facts = { address, internal, netmask: "", mac: "", cidr: null };
  if (address.includes(":")) return { ...facts, family: "IPv6", scopeid: 0 };
  return { ...facts, family: "IPv4" };
}
