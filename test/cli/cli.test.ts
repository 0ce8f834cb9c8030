import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runCommandLine } from "../../src/cli/cli.ts";
import { listenForSignals } from "../../src/cli/cli.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { createFakeHost, ExitedNow } from "./host.ts";

const env = {
  PICOCLAW_CHANNELS_MQTT_BROKER: "tcp://127.0.0.1:9",
  PICOCLAW_CHANNELS_MQTT_AGENT_ID: "assistant",
};

describe("signals", () => {
  it("the first aborts with its name as the reason, the second ends at once", () => {
    const host = createFakeHost([]);
    const stop = listenForSignals(host);
    assert.equal(stop.signal.aborted, false);
    host.signal("SIGTERM");
    assert.equal(stop.signal.reason.code, "terminated");
    assert.throws(
      () => host.signal("SIGINT"),
      (error) => error instanceof ExitedNow && error.code === 130,
    );
  });

  it("an interrupt that a command takes does not abort, and the next one does", () => {
    const host = createFakeHost([]);
    const stop = listenForSignals(host);
    let taken = 0;
    const release = stop.onNextInterrupt(() => (taken += 1));
    host.signal("SIGINT");
    assert.deepEqual([taken, stop.signal.aborted], [1, false]);
    stop.onNextInterrupt(() => (taken += 1))();
    release();
    host.signal("SIGINT");
    assert.deepEqual([taken, stop.signal.reason.code], [1, "interrupted"]);
  });

  it("are given back when the command is over", async () => {
    const host = createFakeHost(["version"]);
    assert.equal(await runCommandLine(host), 0);
    assert.equal(host.listeners(), 0);
  });

  it("a reader who leaves ends the command, and does not use up the first signal", () => {
    const host = createFakeHost([]);
    const stop = listenForSignals(host);
    host.stdout.closeReader();
    assert.ok(stop.signal.aborted);
    assert.doesNotThrow(() => host.signal("SIGINT"));
  });
});

describe("send that waits for its message", () => {
  const cases = [
    { name: "SIGINT", exit: 130, outcome: "interrupted" },
    { name: "SIGTERM", exit: 143, outcome: "terminated" },
  ] as const;
  for (const { name, exit, outcome } of cases) {
    it(`ends with ${exit} and one result line at ${name}, and says nothing else`, async () => {
      const host = createFakeHost(["send", "kitchen", "-", "--json", "--id", "r-1"], { env });
      const ended = runCommandLine(host);
      setImmediate(() => host.signal(name));
      assert.equal(await ended, exit);
      assert.deepEqual(JSON.parse(host.stdout.text()), {
        v: 1,
        type: "result",
        ok: false,
        outcome,
        exit,
        message: outcome,
        id: "r-1",
      });
      assert.equal(host.stderr.text(), "");
    });
  }

  it("ends quietly with 0 when nobody reads its output any more", async () => {
    const host = createFakeHost(["send", "kitchen", "--json"], { env });
    const ended = runCommandLine(host);
    setImmediate(() => host.stdout.closeReader());
    assert.equal(await ended, 0);
    assert.equal(host.stderr.text(), "");
  });
});

describe("send", () => {
  it("does not look for a configuration before the words are right", async () => {
    for (const args of [
      ["a/b", "x"],
      ["c", " "],
      ["c", "x", "--id", "x".repeat(129)],
      ["c", "x", "--raw", "--json"],
    ]) {
      const host = createFakeHost(["send", ...args]);
      assert.equal(await runCommandLine(host), 2, args.join(" "));
      assert.match(host.stderr.text(), /^error: .*\n(?: {2}.*\n)?try: picoclaw help send\n$/);
    }
  });

  it("without a broker says where one can come from", async () => {
    const host = createFakeHost(["send", "kitchen", "hello", "--json"]);
    assert.equal(await runCommandLine(host), 78);
    assert.match(
      host.stderr.text(),
      /^error: no MQTT broker is configured\n.*\ntry: picoclaw onboard .*--broker .*picoclaw try\n$/,
    );
    assert.equal(host.stdout.text().split("\n").length, 2);
    assert.match(host.stdout.text(), /"outcome":"config","exit":78/);
  });

  it("that reaches no broker ends with 4, and with one result line", async () => {
    const host = createFakeHost(["send", "kitchen", "hello", "--json"], { env });
    assert.equal(await runCommandLine(host), 4);
    assert.match(
      host.stdout.text(),
      /^\{"v":1,"type":"result","outcome":"unreachable","exit":4,.*\}\n$/,
    );
  });

  it("knows the channels by name", async () => {
    const host = createFakeHost(["send", "kitchen", "hello", "--channel", "garden"], { env });
    assert.equal(await runCommandLine(host), 2);
    assert.match(host.stderr.text(), /there is no channel "garden"\n {2}.* has mqtt\n/);
  });
});

describe("agent", () => {
  it("needs a question that is not blank", async () => {
    const host = createFakeHost(["agent", "-m", " "]);
    assert.equal(await runCommandLine(host), 2);
    assert.match(host.stderr.text(), /the message is blank/);
  });

  it("answers -m on stdout and ends with 0", async () => {
    await using home = await temporaryFolder();
    const options = { env: { PICOCLAW_HOME: home.path } };
    const host = createFakeHost(["agent", "-m", "what time is it?"], options);
    assert.equal(await runCommandLine(host), 0);
    assert.match(host.stdout.text(), /^.+\n$/s);
  });
});
