import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { CommandName } from "../../src/cli/args/command.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  type Ended,
  oncePerRuntimeInCi,
  picoclaw,
  quickConfig,
  startGateway,
  startPicoclaw,
  temporaryHome,
} from "../support/picoclaw.ts";

/** Lines of each command that print something: a new command belongs here. `gateway` itself prints nothing. */
const LINES: Readonly<Record<CommandName, readonly string[]>> = {
  onboard: ["onboard --yes"],
  try: ["try /help", "try /help --json"],
  gateway: ["gateway --check"],
  send: ["send kitchen uptime", "send kitchen uptime --json", "send kitchen uptime --raw"],
  listen: ["listen -n 1", "listen -n 1 --json"],
  agent: ["agent -m uptime"],
  agents: ["agents", "agents --json"],
  doctor: ["doctor --offline", "doctor --offline --json"],
  status: ["status", "status --json", "status --ready"],
  mcp: ["mcp --help"],
  sessions: ["sessions list", "sessions list --json", "sessions show kitchen"],
  jobs: ["jobs --help"],
  store: ["store --help"],
  acl: ["acl mosquitto"],
  config: ["config encrypt --dry-run", "config path", "config show"],
  service: ["service install --user --dry-run"],
  logs: [],
  completion: ["completion bash"],
  version: ["version", "--version", "version --json", "version --licenses"],
  help: ["help", "--help", "help send", "help exit-codes", "help json"],
};

const needs = { skip: needsMosquitto.skip || oncePerRuntimeInCi.skip };

describe("a command whose output cannot be written", needs, () => {
  it("fails on a full disk, whatever the command", async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    await using _gateway = await startGateway({ home: home.path });
    const asked = await picoclaw(["send", "kitchen", "uptime"], { home: home.path });
    assert.equal(asked.code, 0, asked.stderr);
    for (const [command, lines] of Object.entries(LINES)) {
      for (const line of lines) {
        const { code, stderr } =
          command === "listen"
            ? await listened(line, home.path)
            : await picoclaw(line.split(" "), { home: home.path, output: "/dev/full" });
        assert.equal(code, 1, `${line}: ${stderr}`);
        assert.match(stderr, /^error: the output could not be written\n.*no space left.*\ntry: /im);
      }
    }
  });

  it("fails on a terminal that is closed", async () => {
    await using home = await temporaryHome({});
    const within = ["python3", "-c", CLOSED_TERMINAL];
    for (const line of ["--version", "version", "try /help"]) {
      const { code, stderr } = await picoclaw(line.split(" "), { home: home.path, within });
      assert.equal(code, 1, `${line}: ${stderr}`);
      assert.match(
        stderr,
        /^error: the output could not be written\n.*(?:EIO|input.output).*\ntry: check /im,
      );
    }
  });

  it("is quiet and ends with 0 if its reader has left", async () => {
    await using home = await temporaryHome({});
    const within = ["python3", "-c", CLOSED_PIPE];
    for (const line of ["--version", "version", "completion zsh", "help"]) {
      const { code, stderr } = await picoclaw(line.split(" "), { home: home.path, within });
      assert.deepEqual([code, stderr], [0, ""], line);
    }
  });
});

/** Runs a command with stdout on a terminal whose other side is closed, or on such a pipe. */
const CLOSED_TERMINAL = `import os, sys
other, terminal = os.openpty()
os.dup2(terminal, 1)
os.close(other)
os.execv(sys.argv[1], sys.argv[1:])`;
const CLOSED_PIPE = CLOSED_TERMINAL.replace("os.openpty()", "os.pipe()");

/** `listen` prints at the first message. */
async function listened(line: string, home: string): Promise<Ended> {
  await using listening = startPicoclaw(line.split(" "), { home, output: "/dev/full" });
  await listening.said("connected");
  const asked = await picoclaw(["send", "kitchen", "uptime"], { home });
  assert.equal(asked.code, 0, asked.stderr);
  return await listening.ended;
}
