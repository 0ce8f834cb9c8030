import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { VERSION } from "../../src/base/version.ts";
import { COMMANDS, namesOf } from "../../src/cli/args/commands.ts";
import { runs } from "../support/runs.ts";
import { picoclaw } from "./picoclaw.ts";

const isDeno = process.versions["deno"] !== undefined;

describe("picoclaw as a process", () => {
  it("without arguments shows its help on stdout and ends with 0", async () => {
    const { code, stdout, stderr } = await picoclaw([]);
    assert.equal(code, 0);
    assert.match(stdout, /^picoclaw .*\n\nUsage\n/);
    assert.equal(stderr, "");
  });

  for (const args of [["--help"], ["-h"], ["help"], ["--no-color", "--help"]]) {
    it(`${args.join(" ")} is the same help`, async () => {
      assert.deepEqual(await picoclaw(args), await picoclaw([]));
    });
  }

  it("shows the help of a command wherever --help stands, and whatever else is wrong", async () => {
    const asked = await picoclaw(["help", "send"]);
    assert.equal(asked.code, 0);
    assert.match(asked.stdout, /^picoclaw send:/);
    for (const args of [
      ["send", "--help"],
      ["--help", "send"],
      ["send", "c", "--what", "-h"],
    ]) {
      assert.deepEqual(await picoclaw(args), asked);
    }
  });

  it("help exit-codes explains all of them", async () => {
    const { stdout } = await picoclaw(["help", "exit-codes"]);
    const codes = [...stdout.matchAll(/^ +(\d+) {2}\w/gm)].map(([, code]) => Number(code));
    assert.deepEqual(codes, [0, 1, 2, 3, 4, 5, 6, 7, 78, 130, 143]);
  });

  it("help about nothing is wrong usage", async () => {
    const { code, stdout, stderr } = await picoclaw(["help", "lissen"]);
    assert.equal(code, 2);
    assert.equal(stdout, "");
    assert.equal(stderr, 'error: no help for "lissen"\ntry: picoclaw help listen\n');
  });

  for (const args of [["sned", "x"], ["send", "x", "--jsno"], ["--", "x"], ["--json"]]) {
    it(`${args.join(" ")} is wrong usage, told on stderr in at most four lines`, async () => {
      const { code, stdout, stderr } = await picoclaw(args);
      assert.equal(code, 2);
      assert.equal(stdout, "");
      assert.match(stderr, /^error: .*\n(?: {2}.*\n){0,2}try: .*\n$/);
    });
  }

  it("shows controls in what was typed instead of obeying them", async () => {
    const { stderr } = await picoclaw(["\u001b[2Jsend"]);
    assert.match(stderr, /unknown command "\\x1b\[2Jsend"/);
  });

  for (const args of [["--version"], ["-v"]]) {
    it(`${args.join(" ")} is the version alone`, async () => {
      assert.deepEqual(await picoclaw(args), {
        code: 0,
        stdout: `picoclaw ${VERSION}\n`,
        stderr: "",
      });
    });
  }

  for (const args of [["version"], ["v"], ["--version", "-d"]]) {
    it(`${args.join(" ")} adds the runtime and the platform`, async () => {
      const { code, stdout } = await picoclaw(args);
      assert.equal(code, 0);
      assert.match(stdout, /^picoclaw \d+\.\d+\.\d+\S* \(\w+ [\d.]+\S*, \w+-\w+\)\n$/);
    });
  }

  for (const args of [
    ["version", "--json"],
    ["--version", "--json"],
  ]) {
    it(`${args.join(" ")} is one line of JSON`, async () => {
      const { stdout } = await picoclaw(args);
      const line: unknown = JSON.parse(stdout);
      assert.ok(typeof line === "object" && line !== null);
      assert.deepEqual(Object.keys(line), ["v", "type", "version", "runtime", "platform"]);
      assert.equal(stdout.indexOf("\n"), stdout.length - 1);
    });
  }

  it("version --licenses lists what it is made of, and then every text", async () => {
    const { code, stdout, stderr } = await picoclaw(["version", "--licenses"]);
    assert.deepEqual([code, stderr], [0, ""]);
    const [list = "", ...texts] = stdout.split(`\n\n${"-".repeat(78)}\n\n`);
    const titles = list.split("\n").map((line) => line.replace(/ {2,}/, ": "));
    assert.match(titles[0] ?? "", new RegExp(`^picoclaw ${VERSION}: MIT$`));
    assert.ok(titles.some((title) => /^mqtt \d+\.\d+\.\d+: MIT$/.test(title)));
    assert.deepEqual(
      texts.map((text) => text.split("\n")[0]),
      titles,
    );
    assert.ok(texts.every((text) => text.length > 80));
  });

  it("version --licenses --json is one line a package", async () => {
    const { stdout } = await picoclaw(["version", "--licenses", "--json"]);
    for (const line of stdout.trimEnd().split("\n")) {
      const said: unknown = JSON.parse(line);
      assert.ok(typeof said === "object" && said !== null);
      assert.deepEqual(Object.keys(said), ["v", "type", "name", "version", "license", "text"]);
    }
  });

  it("a closed pipe ends it quietly with 0", async () => {
    const { code, stderr } = await picoclaw(["help", "send"], { leaveAfterFirstLine: true });
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  });

  it("answers every command that is in the table with its help", async () => {
    const names = COMMANDS.flatMap(namesOf);
    // What differs between runtimes is how a process starts, which does not hang on the command.
    for (const name of names.slice(0, runs(names.length))) {
      const { code, stdout } = await picoclaw([name, "--help"]);
      assert.equal(code, 0, name);
      assert.match(stdout, /^picoclaw \w+: /);
    }
  });

  const signals = [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const;
  for (const [signal, exit] of signals) {
    // Deno cannot give up a read of standard input: the process would wait for the pipe's end.
    it(`${signal} ends it with ${exit}, also while it reads`, { skip: isDeno }, async () => {
      const { code, stdout } = await picoclaw(["send", "kitchen", "--json"], {
        env: {
          PICOCLAW_CHANNELS_MQTT_BROKER: "tcp://127.0.0.1:9",
          PICOCLAW_CHANNELS_MQTT_AGENT_ID: "assistant",
        },
        // More than a pipe or a socket holds, so that it was read for certain.
        stdin: "x".repeat(262_000),
        signal,
      });
      assert.equal(code, exit);
      assert.match(stdout, new RegExp(`^\\{"v":1,"type":"result",.*"exit":${exit},.*\\}\n$`));
    });
  }

  it("send --json ends wrong usage with one result line, too", async () => {
    const { code, stdout, stderr } = await picoclaw(["send", "--json", "kitchen", "--timout", "5"]);
    assert.equal(code, 2);
    assert.deepEqual(JSON.parse(stdout), {
      v: 1,
      type: "result",
      ok: false,
      outcome: "usage",
      exit: 2,
      message: "unknown flag --timout",
    });
    assert.match(stderr, /^error: unknown flag --timout\n/);
  });
});
