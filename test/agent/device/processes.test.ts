import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import process from "node:process";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { factSentence } from "../../../src/agent/device/facts.ts";
import type { FactName } from "../../../src/agent/device/facts.ts";
import { pause } from "../../../src/base/async.ts";
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

describe("the processes", () => {
  it("that used the CPU most between the two samples are named, with odd names made harmless", async () => {
    await tree.write({
      "proc/stat": "cpu  0 0 0 1000 0 0 0 0\n",
      "proc/10/stat": stat("old", 9000),
      "proc/20/stat": stat("busy) S 1 (x", 100),
      "proc/30/stat": stat("reused", 500),
      "proc/self/stat": stat("self", 0),
    });
    tree.change = () =>
      tree.write({
        "proc/stat": "cpu  100 0 0 1100 0 0 0 0\n",
        "proc/20/stat": stat("busy) S 1 (x", 150),
        "proc/30/stat": stat("evil\u001b[2J\n", 20, 99),
      });
    assert.equal(
      await shown("top_cpu"),
      "Most CPU of 3 processes is used by busy) S 1 (x (process 20) 25.0 % and evil\\x1b[2J (process 30) 10.0 %.",
    );
  });

  it("that hold the most memory are named, five of them", async () => {
    for (const id of [1, 2, 3, 4, 5, 6, 7]) {
      await tree.write({ [`proc/${id}/status`]: `Name:\tp${id}\nVmRSS:\t ${id * 1024} kB\n` });
    }
    await tree.write({ "proc/8/status": "Name:\tkthread\n" });
    const sentence = await shown("top_memory");
    assert.match(sentence, /^Most memory of 8 processes is used by p7 \(process 7\) 7\.0 MiB, p6 /);
    assert.match(sentence, / and p3 \(process 3\) 3\.0 MiB\.$/);
  });

  it("that cannot be seen are said not to be", async () => {
    assert.match(await shown("top_cpu"), /cannot be read here/);
    assert.match(await shown("top_memory"), /cannot be read here/);
  });
});

describe("a process that really works", { skip: process.platform !== "linux" }, () => {
  let child: ChildProcess;
  before(() => {
    child = spawn("sh", ["-c", "while :; do :; done"], { stdio: "ignore" });
  });
  after(() => child.kill("SIGKILL"));

  it("is found among those that use the CPU", async () => {
    const device = { root: "/", workspace: "/", now: () => new Date(), pause };
    const own = new RegExp(
      `^Most CPU of \\d+ processes is used by .*\\bsh \\(process ${child.pid}\\) `,
    );
    // Beside programs that work as much it is named in some of the samples.
    const isNamed = async (): Promise<boolean> =>
      own.test(await factSentence("top_cpu", device, NEVER));
    await until(String(own), isNamed);
  });
});

/** `/proc/<id>/stat` with what is read of it (proc_pid_stat(5)). */
function stat(name: string, ticks: number, began = 5): string {
  return `1 (${name}) S 0 1 1 0 -1 4194560 1 1 1 1 ${ticks} 0 0 0 20 0 1 0 ${began} 1 1 1`;
}
